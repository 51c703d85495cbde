"""``python -m search.results``: print the JSON schema of results.json."""

from __future__ import annotations

import json

from search.results.schema import Results

if __name__ == "__main__":
    print(json.dumps(Results.model_json_schema(), indent=1))
