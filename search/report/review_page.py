"""A review of a day, a week or a month as text and as a page that stands alone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from markupsafe import Markup

from recsys.io import write_atomic
from search.experiments.compare import figures_table
from search.experiments.review import Review
from search.report.page import HERE, environment


def review_text(found: Review) -> str:
    """For the terminal."""
    parts = [f"Review of {period(found)}"]
    parts.append(figures_table(found.ran) if found.ran else "Nothing was run.")
    for title, lines in (("What was learnt", found.learnt), ("What to try", found.next)):
        parts.append(title + "\n" + ("\n".join(f"- {line}" for line in lines) or "- nothing yet"))
    return "\n\n".join(parts)


def write_review(path: Path, found: Review) -> Path:
    """The same as a page at ``path``."""
    text = (
        environment()
        .get_template("review.html.j2")
        .render(review=found, period=period(found), style=Markup((HERE / "page.css").read_text()))
    )
    return write_atomic(path, text.encode())


def period(found: Review) -> str:
    """From when to when."""
    days = [
        dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M") for at in (found.since, found.until)
    ]
    return f"{days[0]} to {days[1]} UTC"
