"""Near-duplicate posts: the same advertisement posted again with small changes."""

import re
from collections.abc import Iterable, Sequence

from datasketch import MinHash, MinHashLSH
from tqdm import tqdm

SHINGLE = 5
THRESHOLD = 0.5
PERMUTATIONS = 128


def shingles(text: str) -> set[str]:
    """The runs of five words of a text, in lower case; the whole text if it is shorter."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}


def sketch(runs: Iterable[str]) -> MinHash:
    """The MinHash of a set of shingles."""
    signature = MinHash(num_perm=PERMUTATIONS)
    signature.update_batch([run.encode() for run in runs])
    return signature


def cluster(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """The cluster of each text, named by the index of its first member.

    Two texts are near-duplicates if the Jaccard similarity of their shingles is at least `threshold`, and a cluster
    holds all that such pairs connect. Candidates come from MinHash with banding (Broder 1997), then are checked.
    """
    sets = [shingles(text) for text in texts]
    # At its own threshold the index finds half of the pairs only: at half of it nearly all, and some to check away.
    index = MinHashLSH(threshold=threshold / 2, num_perm=PERMUTATIONS)
    parent = list(range(len(texts)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, own in enumerate(tqdm(sets, desc="near-duplicates", unit="post", leave=False, delay=2)):
        signature = sketch(own)
        for j in index.query(signature):
            if len(own & sets[j]) >= threshold * len(own | sets[j]):
                low, high = sorted((find(i), find(j)))
                parent[high] = low
        index.insert(i, signature)
    return [find(i) for i in range(len(texts))]


def unlike(texts: Sequence[str], others: Sequence[str]) -> list[bool]:
    """Whether each text shares no cluster with one of the others."""
    # The others come first: a cluster is named by its first member.
    return [name >= len(others) for name in cluster([*others, *texts])[len(others) :]]
