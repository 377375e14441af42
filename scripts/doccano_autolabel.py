"""Let doccano ask the extraction service for suggestions whenever a post is opened."""

from typing import Annotated, Any

import requests
import typer
from wasabi import msg

from scripts.cli import BadInput, bad_input, new_app, reports_bad_input
from scripts.doccano_api import Doccano, Project, connect
from scripts.doccano_server import DEFAULT_HOME, Home

REQUEST = "Custom REST Request"
# Turns the service's answer into what doccano stores; a list, so that `tojson` escapes what must be.
TEMPLATE = """[{% for entity in input.results[0].entities %}
{"start_offset": {{ entity.start }}, "end_offset": {{ entity.end }}, "label": {{ entity.label|tojson }}}
{% if not loop.last %},{% endif %}{% endfor %}]"""

app = new_app("Set up doccano's auto-labelling.")


@app.command()
@reports_bad_input
def main(
    project: Annotated[str, typer.Option(help="name of the doccano project")],
    service: Annotated[str, typer.Option(help="address of the extraction service, as doccano's server reaches it")] = (
        "http://127.0.0.1:8080"
    ),
    home: Home = DEFAULT_HOME,
) -> None:
    """Point the project's auto-labelling at the service. Annotators switch it on in the toolbar of a post."""
    server = connect(home)
    target = server.get_project(project)
    server.add_labels(target, service_labels(service))
    configure(server, target, service)
    msg.good(f"project {project!r} asks {service} for suggestions: switch auto-labelling on in a post's toolbar")


def service_labels(service: str) -> list[str]:
    """What the service recognises. Raises BadInput if it does not answer."""
    try:
        labels: list[str] = requests.get(f"{service}/health", timeout=10).json()["labels"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        what = f"no extraction service answers ({type(error).__name__})"
        raise bad_input(service, what, "start it: spacy project run serve") from None
    return labels


def configure(server: Doccano, project: Project, service: str) -> None:
    """Make this service the project's one source of suggestions from an extraction service.

    Raises BadInput if doccano's server does not get an answer from it."""
    attributes = {
        "url": f"{service}/extract",
        "method": "POST",
        "params": {},
        "headers": {},
        # The browser that shows the spans counts UTF-16 code units.
        "body": {"text": "{{ text }}", "unit": "utf16"},
    }
    base = f"projects/{project.id}/auto-labeling"
    trial = {"model_name": REQUEST, "model_attrs": attributes, "text": "Python and SQL"}
    try:
        answer = server.json("POST", f"{base}/request-testing", json=trial)
    except BadInput as error:
        what = f"doccano cannot reach it ({error.faults[0].what[:200]})"
        raise bad_input(service, what, "give --service an address that works on doccano's machine") from None
    if not isinstance(answer, dict) or "results" not in answer:
        raise bad_input(service, "its answer is not that of the extraction service", "check --service")
    config: dict[str, Any] = {
        "model_name": REQUEST,
        "model_attrs": attributes,
        "template": TEMPLATE,
        "label_mapping": {},
        "default": False,
        "task_type": "Span",
    }
    outdated = [row["id"] for row in server.json("GET", f"{base}/configs") if row["template"] == TEMPLATE]
    server.json("POST", f"{base}/configs", json=config)
    # All of a project's configurations are asked in turn: an old one would still be waited for.
    for id in outdated:
        server.request("DELETE", f"{base}/configs/{id}")


if __name__ == "__main__":
    app()
