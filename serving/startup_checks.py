"""Checks before a start, and the state of the experiment that it serves.

A stored state has precedence over the command line and the YAML: shares, releases and roll-outs survive a
restart. Only ``--reset`` replaces it, as its next revision.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recsys.data.user_groups import UserGroups
from recsys.errors import InputError
from recsys.release.load import load_release, read_manifest
from serving.api.asgi import API_KEY
from serving.catalogue.rule_set import RuleSet
from serving.domain import ExperimentState
from serving.events.engine import sqlite_file
from serving.events.repeated_erasure import repeat_erasures
from serving.events.rule_log import newest_rules, save_rules
from serving.events.store import Conflict, EventStore
from serving.experiments.experiment_metrics import check_thresholds
from serving.release_registry import pinned, resolve
from serving.settings import Settings

log = logging.getLogger(__name__)


def check_exposure(settings: Settings) -> None:
    """Raises InputError for an address that other machines can reach while no API key is set."""
    if not settings.loopback and not os.environ.get(API_KEY):
        raise InputError(
            f"--host {settings.host} can be reached by others: set {API_KEY} in the environment (every "
            "request must then carry it), or use 127.0.0.1 behind a proxy"
        )


def find_releases(state: ExperimentState) -> list[Path]:
    """The folders of the arms' releases, not verified. Raises InputError for a missing one."""
    folders = []
    for arm in state.arms:
        try:
            folder = resolve(arm.release)
            read_manifest(folder)
        except InputError as error:
            if not state.revision:
                raise
            raise InputError(
                f"revision {state.revision} of {state.name!r} in the event store has arm {arm.name!r}: "
                f"{error}; --reset serves the arms of this start instead"
            ) from None
        folders.append(folder)
    return folders


def check_releases(folders: list[Path]) -> None:
    """Load each release as a replica would. Raises InputError for the first invalid one."""
    for folder in folders:
        load_release(folder)


def check_segments(columns: Sequence[str], first: Path) -> None:
    """Raises InputError for a column that the first arm's release does not have."""
    groups = UserGroups.load(first / "users") if columns else None
    names = [] if groups is None else list(groups.names)
    for column in columns:
        if column not in names:
            raise InputError(
                f"experiment.segments: {first} has no user column {column!r}; "
                + (
                    f"it has {', '.join(names)}"
                    if names
                    else "it was made without a table of users (--users)"
                )
            )


def check_metrics(settings: Settings, state: ExperimentState, first: Path) -> None:
    """Raises InputError for a threshold outside of the rating scale of the first arm's release."""
    scale = read_manifest(first).dataset.scale
    check_thresholds(settings.experiment.measured(state.metrics), scale.low, scale.high)


def resolve_experiment(settings: Settings, *, reset: bool = False) -> ExperimentState:
    """The state to serve: the stored one, or the settings' where none is stored, which is stored then.

    Args:
        settings: with the arms of the command line or YAML.
        reset: store the settings' arms as the next revision.

    Raises:
        InputError: invalid shares or releases. An unavailable store is only logged.
    """
    requested = named_state(settings)
    file = sqlite_file(settings.events)
    if file is not None and not file.exists():
        find_releases(requested)  # a failed start leaves no empty store
    store = EventStore(settings.events)
    try:
        store.create_tables()
        repeat_erasures(store)
        if reset:
            reset_rules(store, settings.rules)
        stored = store.experiment(requested.name)
        if stored is not None and not reset:
            return stored
        find_releases(requested)  # only a servable state is stored
        return store.save_experiment(
            requested,
            expected=stored.revision if stored else 0,
            actor="start",
            reason="the arms of this start",
        )
    except InputError:
        raise
    except Conflict as conflict:
        return conflict.current or requested
    except Exception as error:
        log.warning("the event store at %s cannot be reached: %s", settings.events, type(error).__name__)
        return requested
    finally:
        store.close()


def reset_rules(store: EventStore, rules: RuleSet) -> None:
    """Store ``rules`` as the next revision where others are stored."""
    newest = newest_rules(store)
    if newest is not None and newest.rules != rules:
        save_rules(store, rules, before=newest, actor="start", reason="--reset")


def named_state(settings: Settings) -> ExperimentState:
    """The settings' state, with MLflow aliases replaced by versions."""
    requested = settings.experiment.state()
    return replace(requested, arms=tuple(replace(arm, release=pinned(arm.release)) for arm in requested.arms))


def difference(requested: ExperimentState, served: ExperimentState) -> str:
    """A note where the served state is not the requested one, else ""."""
    if arms_text(requested) == arms_text(served):
        return ""
    return (
        f"the event store's revision {served.revision} of {served.name!r} is served, not the arms of this "
        f"start ({arms_text(requested)}); --reset serves those"
    )


def arms_text(state: ExperimentState) -> str:
    """The arms with their shares and releases, on one line."""
    return ("interleaved: " if state.kind == "interleaved" else "") + ", ".join(
        f"{arm.name} {'shadow' if arm.shadow else f'{arm.share:.4g}'} {arm.release}" for arm in state.arms
    )
