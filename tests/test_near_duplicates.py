"""Posts that were posted again are found, others are not."""

from scripts.near_duplicates import cluster, unlike


def words(prefix: str, count: int = 150) -> str:
    return " ".join(f"{prefix}{i}" for i in range(count))


def test_clusters_connect_near_duplicates_only() -> None:
    texts = [words("a"), words("b"), words("a") + " posted again", words("a", 75) + words("c", 75), words("b").upper()]
    assert cluster(texts) == [0, 1, 0, 3, 1]


def test_short_and_equal_texts() -> None:
    assert cluster([]) == []
    assert cluster(["x", "x", "y", ""]) == [0, 0, 2, 3]


def test_texts_unlike_others() -> None:
    assert unlike([words("a") + " again", words("b"), "x"], [words("a"), "y"]) == [False, True, True]
    assert unlike([], ["x"]) == [] and unlike(["x"], []) == [True]
