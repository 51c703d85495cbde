"""A review of a day, a week or a month as text and as a page that stands alone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from markupsafe import Markup

from recsys.io import write_atomic
from search.experiments.compare import figures_table
from search.experiments.review import Review
from search.report.page import HERE, environment


def review_text(review: Review) -> str:
    """For the terminal."""
    parts = [f"Review of {period(review)}"]
    parts.append(figures_table(review.ran) if review.ran else "Nothing was run.")
    for title, lines in (("What was learnt", review.learnt), ("What to try", review.next)):
        parts.append(title + "\n" + ("\n".join(f"- {line}" for line in lines) or "- nothing yet"))
    return "\n\n".join(parts)


def write_review(path: Path, review: Review) -> Path:
    """The same as a page at ``path``."""
    text = (
        environment()
        .get_template("review.html.j2")
        .render(review=review, period=period(review), style=Markup((HERE / "page.css").read_text()))
    )
    return write_atomic(path, text.encode())


def period(review: Review) -> str:
    """From when to when."""
    days = [
        dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M")
        for at in (review.since, review.until)
    ]
    return f"{days[0]} to {days[1]} UTC"
