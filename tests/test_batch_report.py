"""The report: its order, its columns, and that it is one file which shows no text as anything else."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pyengine.batch.journal import Journal
from pyengine.batch.manifest import Fault
from pyengine.batch.report import MOST_ROWS, Report


def journal_of(folder: Path, jobs: int) -> Journal:
    """Jobs that were made, with the patch distance 0.00 to 0.99; one that has failed, and one that was refused."""
    journal = Journal(folder)
    journal.begin()
    for k in range(jobs):
        journal.add(f"{k}.png", f"jobs.jsonl:{k + 1}", "{}", str(k), "kind", there=False, retry=False)
    journal.add_fault(Fault("jobs.jsonl:0", "exemplar <b>.png: no such file"))
    row = journal.unchecked()
    assert row
    journal.checked(row, 10, (16, 16))
    row = journal.next()
    assert row
    journal.failed(row, "was killed $ROWS", "me", died=True)
    shown = (folder / "shown.webp", folder / "exemplar.webp")
    for path, colour in zip(shown, ("teal", "coral"), strict=True):
        Image.new("RGB", (96, 64), colour).save(path)
    pictures = [path.read_bytes() for path in shown]
    while row := journal.next():
        figures = {"patch_distance": int(row.name[:-4]) % 100 / 100, "order": None}
        journal.done(row, 2.5, figures, "me", *pictures)
    journal.commit()
    return journal


def test_rows(tmp_path: Path) -> None:
    report = Report(tmp_path)
    assert report.is_due
    with journal_of(tmp_path, 4) as journal:
        report.write(journal, is_over=False)
    assert not report.is_due
    page = report.path.read_text()
    assert re.findall("<th>([a-z ]+)", page) == ["output", "exemplar", "result", "patch distance", "seconds", "error"]
    rows = re.findall('<tr class="(\\w+)"><td title="([^"]+)">(?:<a href="([^"]+)">)?', page)
    assert rows[:2] in ([("failed", "jobs.jsonl:1", ""), ("refused", "jobs.jsonl:0", "")], [*reversed(rows[:2])])
    assert rows[2:] == [("done", f"jobs.jsonl:{k + 1}", f"{k}.png") for k in (3, 2, 1)]
    assert "<td>exemplar &lt;b&gt;.png: no such file" in page
    assert "<td>was killed $ROWS" in page
    assert '<td data-value="0.03">0.030<td data-value="2.5">2.5<td>' in page
    assert "<h1>3 of 5 done, 2 failed</h1>" in page
    assert '<meta http-equiv="refresh"' in page
    assert not re.search("""(src|href)="(?!data:|\\d\\.png)""", page)  # it needs nothing but itself


def test_the_worst_of_many(tmp_path: Path) -> None:
    report = Report(tmp_path)
    with journal_of(tmp_path, MOST_ROWS + 10) as journal:
        report.write(journal, is_over=True)
    page = report.path.read_text()
    assert page.count("<tr class=") == MOST_ROWS
    assert f"; the worst {MOST_ROWS} are shown" in page
    assert "http-equiv" not in page


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_in_a_browser(tmp_path: Path) -> None:
    """A thousand jobs are there, sorted by whatever was clicked; a page of little more than them opens quickly."""
    report = Report(tmp_path)
    with journal_of(tmp_path, 1000) as journal:
        report.write(journal, is_over=True)
    click = "<script>heads[3].click(); heads[3].click(); document.title = body.rows[0].cells[0].textContent</script>"
    page = tmp_path / "clicked.html"
    page.write_text(report.path.read_text().replace("</html>", f"{click}</html>"))

    def browse(path: Path, *arguments: str) -> str:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}"]
        done = subprocess.run([*command, *arguments, path.as_uri()], capture_output=True, text=True, timeout=120)
        return done.stdout

    shot = tmp_path / "shot.png"
    browse(report.path, f"--screenshot={shot}", "--window-size=1200,800")
    with Image.open(shot) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(10**6) or []}
    assert any(abs(r - 0) + abs(g - 128) + abs(b - 128) < 30 for r, g, b in colours)  # teal: the pictures are there
    document = browse(page, "--dump-dom")
    title = re.search("<title>(.*?)</title>", document)
    assert title
    assert title[1] in {f"{k}.png" for k in range(1000) if k % 100 == 0}  # the smallest patch distance
    elements = Counter(re.findall("<([a-z]\\w*)", document))
    assert elements["tr"] == 1 + 1001
    assert sum(elements.values()) < 11 * 1001
    assert elements["img"] == document.count('<img loading="lazy"') == 2 * 999  # decoded when they come into sight
    text = re.sub('base64,[^"]+', "", report.path.read_text())
    assert len(text) < 500 * 1001
