"""A search from a request to its exit code.

All that can be wrong with a request is reported before the run's folder is made. From then on, whatever
goes wrong leaves a run that can be resumed: see search.storage.run_dir.
"""

from __future__ import annotations

import os
import traceback

from recsys.errors import InputError
from recsys.steady_clock import steady_time
from search.run.search_request import SearchRequest
from search.run.setup import prepare
from search.storage.run_dir import RunFolder


def run(request: SearchRequest) -> int:
    """Run ``request`` and return the exit code.

    Raises:
        InputError: the request is refused; nothing was started.
    """
    began = steady_time()
    prepared = prepare(request)
    # Ray and torch take seconds to import: only for a request that was accepted.
    from search.run.search_run import EXIT_FAILED, EXIT_INTERRUPTED, SearchRun
    from search.tune.ray_cluster import check_join
    from search.tune.tuner import RunFailure

    if prepared.work.count:
        check_join()
    folder = prepared.open_folder()
    try:
        return SearchRun(prepared, folder, began=began).run()
    except KeyboardInterrupt:
        print(f"\nstopped. {_resume_hint(folder)}")
        return EXIT_INTERRUPTED
    except (RunFailure, OSError, InputError) as error:
        print(f"\nthe run failed: {error}. {_resume_hint(folder)}")
        return EXIT_FAILED
    except Exception as error:
        note = _write_traceback(folder)
        print(f"\nthe run failed: {type(error).__name__}: {error} ({note}). {_resume_hint(folder)}")
        return EXIT_FAILED
    finally:
        folder.close()


def _resume_hint(folder: RunFolder) -> str:
    shown = os.path.relpath(folder.path)
    return (
        f"Checkpoints and finished trials are kept in {shown}; "
        f"go on with: python search/breakthrough.py --out {shown} --resume"
    )


def _write_traceback(folder: RunFolder) -> str:
    """Write the traceback of an unexpected error; returns where it is."""
    try:
        (folder.path / "traceback.txt").write_text(traceback.format_exc())
    except OSError:
        traceback.print_exc()
        return "the traceback is above"
    return f"details: {os.path.relpath(folder.path)}/traceback.txt"
