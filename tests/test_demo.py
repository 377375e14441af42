import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language
from typer.testing import CliRunner

from scripts.demo import app
from scripts.posts import to_row
from tests.conftest import LABELS, free_port, headless_chromium, make_posts, running


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.2)
    raise AssertionError(f"not there after {seconds} s")


@pytest.fixture(scope="module")
def address(trained: Language, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, served with the pipeline of the sample posts."""
    pytest.importorskip("spacy_streamlit")
    folder = tmp_path_factory.mktemp("demo")
    trained.to_disk(folder / "model")
    (folder / "posts.jsonl").write_text("\n".join(map(as_json, make_posts())), encoding="utf-8")
    port = free_port()
    command = [sys.executable, "-m", "scripts.demo", str(folder / "model"), "--examples", str(folder / "posts.jsonl")]
    address = f"http://127.0.0.1:{port}"
    with running([*command, "--port", str(port)], f"{address}/_stcore/health", folder / "log"):
        yield address


def as_json(post: Any) -> str:
    return json.dumps(to_row(post) | {"title": f"Post {post.id}"})


def without_labels(text: str) -> str:
    return re.sub(rf"\s|{'|'.join(LABELS)}", "", text)


@pytest.mark.slow
def test_what_a_user_sees(address: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with headless_chromium() as driver:

        def all_of(selector: str) -> list[Any]:
            return [element for element in driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]

        def paste(number: int, text: str) -> None:
            area = wait_for(lambda: all_of("textarea")[number:])[0]
            driver.execute_script("arguments[0].select()", area)
            driver.execute_cdp_cmd("Input.insertText", {"text": text})
            area.send_keys(Keys.CONTROL, Keys.ENTER)

        driver.get(address)
        evil = "<script>document.title = 'changed'</script><img src=x onerror=\"document.title = 'changed'\">"
        paste(0, f"{evil}\nWe need Python, SQL and machine learning.\nWe pay $90k to $100k *net*.")
        marks = wait_for(lambda: all_of("mark.entity"))
        assert {"Python TECHNOLOGY", "SQL TECHNOLOGY", "machine learning TECHNICAL"} <= {mark.text for mark in marks}
        assert all(re.fullmatch(r"score [01]\.\d\d", mark.get_attribute("title")) for mark in marks)
        assert len({mark.value_of_css_property("background-color") for mark in marks}) > 1
        shown = without_labels(all_of("div.entities")[0].text)
        assert without_labels(evil) in shown and without_labels("We pay $90k to $100k *net*.") in shown
        assert driver.title != "changed"
        wait_for(lambda: [b.text for b in all_of("[data-testid=stDownloadButton] button")] == ["CSV", "JSON"])

        long = tmp_path / "long.txt"
        long.write_text("The bank offers lunch.\n" * 5_000 + "Build dashboards with Power BI.", encoding="utf-8")
        driver.find_elements(By.CSS_SELECTOR, "input[type=file]")[0].send_keys(str(long))
        wait_for(lambda: "PowerBI" in without_labels(driver.find_elements(By.CSS_SELECTOR, "div.entities")[0].text))

        wait_for(lambda: all_of("[role=tab]"))[1].click()
        paste(0, "We need Python, SQL and machine learning.")
        paste(1, "Requirements:\ndata modelling in Snowflake")
        heads = wait_for(lambda: [head.text for head in all_of("h3") if "(" in head.text][2:])
        assert "Only in the second" in heads[0] and "(0)" not in heads[0]


def test_missing_streamlit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.demo.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["en_skillner", "--examples", "x.jsonl"])
    assert result.exit_code == 1 and "requirements-apps.txt" in result.output


def test_what_is_missing_is_said_before_the_page_opens(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "none"), "--examples", str(tmp_path)])
    assert result.exit_code == 1 and "no such package is installed" in result.output
    result = CliRunner().invoke(app, [str(tmp_path), "--examples", str(tmp_path / "none.jsonl")])
    assert result.exit_code == 1 and "none.jsonl: no such file or folder" in result.output
