"""Near-duplicate posts: the same advertisement posted again with small changes."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from datasketch import LeanMinHash, MinHash, MinHashLSH
from tqdm import tqdm

SHINGLE = 5
THRESHOLD = 0.5
PERMUTATIONS = 128


def shingles(text: str) -> set[str]:
    """The runs of five words of a text, in lower case; the whole text if it is shorter."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1))}


def sketch(runs: Iterable[str]) -> LeanMinHash:
    """The MinHash of a set of shingles."""
    signature = MinHash(num_perm=PERMUTATIONS)
    signature.update_batch([run.encode() for run in runs])
    return LeanMinHash(signature)


class Index:
    """Finds the MinHashes that are like one, by bands (Broder 1997): those that equal it in any band of its values.

    It is a temporary file, gone with the index: memory stays flat however many there are. `threshold` is the Jaccard
    similarity from which on they are to be found; at it, half of them are.
    """

    def __init__(self, threshold: float):
        best = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self.bands, self.rows = best.b, best.r
        self.file = sqlite3.connect("")
        self.file.execute("CREATE TABLE bands (key INTEGER, number INTEGER, PRIMARY KEY (key, number)) WITHOUT ROWID")

    def keys(self, signature: LeanMinHash) -> list[int]:
        values = signature.hashvalues[: self.bands * self.rows].reshape(self.bands, self.rows)
        hashes = (blake2b(b"%d %b" % (band, row.tobytes()), digest_size=8) for band, row in enumerate(values))
        return [int.from_bytes(key.digest(), "big", signed=True) for key in hashes]

    def insert(self, number: int, signature: LeanMinHash) -> None:
        rows = [(key, number) for key in self.keys(signature)]
        self.file.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", rows)

    def query(self, signature: LeanMinHash) -> list[int]:
        """The numbers under which like ones were inserted, the smallest first."""
        keys = self.keys(signature)
        places = ", ".join("?" * len(keys))
        found = self.file.execute(f"SELECT DISTINCT number FROM bands WHERE key IN ({places}) ORDER BY number", keys)
        return [number for (number,) in found]


def cluster(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """The cluster of each text, named by the index of its first member.

    Two texts are near-duplicates if the Jaccard similarity of their shingles is at least `threshold`, and a cluster
    holds all that such pairs connect. Candidates come from MinHash with banding (Broder 1997), then are checked.
    """
    sets = [shingles(text) for text in texts]
    # At half of the threshold it finds nearly all pairs, and some to check away.
    index = Index(threshold / 2)
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
