"""``eventfed schema``: the JSON Schema of an agent's file, for editors and other checkers."""

import json
from typing import Any

from eventfed_agent.configuration import AgentConfiguration

__all__ = ["agent_file_schema", "run"]


def agent_file_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of ``agent.toml``, with the names as that file writes them."""
    schema = AgentConfiguration.model_json_schema(by_alias=False)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "agent.toml of eventfed"}


def run() -> None:
    """Print it."""
    print(json.dumps(agent_file_schema(), indent=2, ensure_ascii=False))
