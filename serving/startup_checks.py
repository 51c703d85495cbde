"""What must hold before anything is started, and which state of the experiment a start means.

Run-time changes outlive a restart: the store's state goes on unless the arms that the start names are
others. Only the start decides that; a replica that comes back later serves what the store says.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from recsys.errors import InputError
from recsys.release.load import load_release, read_manifest
from serving.api.asgi import API_KEY
from serving.domain import ExperimentState
from serving.events.store import Conflict, EventStore
from serving.release_registry import pinned, resolve
from serving.settings import Settings

log = logging.getLogger(__name__)


def check_exposure(settings: Settings) -> None:
    """Raises InputError for an address that others reach while no key is set."""
    if not settings.loopback and not os.environ.get(API_KEY):
        raise InputError(
            f"--host {settings.host} can be reached by others: set {API_KEY} in the environment first (every "
            "request must then carry it), or keep to 127.0.0.1 and put a proxy in front"
        )


def find_releases(settings: Settings) -> list[Path]:
    """The folders of the arms' releases, at a glance. Raises InputError for one that is not there."""
    folders = [resolve(arm.release) for arm in settings.experiment.state().arms]
    for folder in folders:
        read_manifest(folder)
    return folders


def check_releases(folders: list[Path]) -> None:
    """Opens each as a replica would. Raises InputError for the first that is not sound."""
    for folder in folders:
        load_release(folder)


def resolve_experiment(settings: Settings) -> ExperimentState:
    """The state that this start serves, stored. Raises InputError; an unreachable store is only logged."""
    asked = settings.experiment.state()
    asked = replace(asked, arms=tuple(replace(arm, release=pinned(arm.release)) for arm in asked.arms))
    store = EventStore(settings.events)
    try:
        store.create_tables()
        stored = store.experiment(asked.name)
        if stored is not None and (_same_experiment(asked, stored) or stored.owner == "rollout"):
            return stored
        return store.save_experiment(
            asked, expected=stored.revision if stored else 0, actor="start", reason="the arms of this start"
        )
    except InputError:
        raise
    except Conflict as conflict:
        return conflict.current or asked
    except Exception as error:
        log.warning("the event store at %s cannot be reached: %s", settings.events, type(error).__name__)
        return asked
    finally:
        store.close()


def _same_experiment(asked: ExperimentState, stored: ExperimentState) -> bool:
    """Whether a start names the arms that are there already: then the stored shares go on."""
    return asked.salt == stored.salt and {(arm.name, arm.release) for arm in asked.arms} == {
        (arm.name, arm.release) for arm in stored.arms
    }
