"""Extract skills over HTTP."""

import threading
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from spacy.language import Language
from wasabi import msg

from scripts.cli import new_app, reports_bad_input
from scripts.extract import find_skills, load_pipeline
from scripts.posts import Unit, utf16_offsets
from scripts.tables import Row

MOST_TEXTS = 64
MOST_CHARACTERS = 100_000
MOST_BYTES = 4_000_000

app = new_app("Serve the pipeline over HTTP.")


@app.command()
@reports_bad_input
def main(
    model: Annotated[str, typer.Argument(help="folder of a trained pipeline, or the name of an installed one")],
    host: Annotated[str, typer.Option(help="address to listen on; the default is reached from this machine only")] = (
        "127.0.0.1"
    ),
    port: int = 8080,
) -> None:
    """Answer POST /extract and GET /health; /docs describes both."""
    nlp = load_pipeline(model)
    msg.good(f"{model_name(nlp)} answers at http://{host}:{port}/extract; /docs describes it")
    uvicorn.run(create_api(nlp), host=host, port=port, log_level="warning")


class Request(BaseModel):
    """One text or several."""

    model_config = ConfigDict(extra="forbid")
    text: str | None = Field(None, max_length=MOST_CHARACTERS)
    texts: list[Annotated[str, Field(max_length=MOST_CHARACTERS)]] | None = Field(None, max_length=MOST_TEXTS)
    unit: Unit = Field(Unit.codepoint, description="what offsets count; utf16 is what JavaScript and doccano count")

    @model_validator(mode="after")
    def check_texts(self) -> "Request":
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either 'text' or 'texts'")
        return self

    def all_texts(self) -> list[str]:
        return [self.text] if self.text is not None else self.texts or []


class Entity(BaseModel):
    """An entity; what the pipeline does not tell of it is null."""

    start: int
    end: int
    label: str
    text: str
    score: float | None = Field(description="how likely the entity is right, 0 to 1")
    skill: str | None = Field(description="the canonical name of the skill, null if the table of skills has none")
    requirement: str | None = Field(description="required, preferred or mentioned")
    section: str | None = Field(description="the part of the post that it stands in, null if nothing tells")


class Result(BaseModel):
    entities: list[Entity]


class Response(BaseModel):
    model: str
    unit: Unit
    results: list[Result] = Field(description="one for each text, in the order they were given")


def create_api(nlp: Language) -> FastAPI:
    """The web application around a pipeline."""
    name = model_name(nlp)
    api = FastAPI(title="Skills in job posts", description=f"Model: {name}", max_body_size=MOST_BYTES)
    # A pipeline is no use to two threads at once.
    lock = threading.Lock()

    @api.exception_handler(RequestValidationError)
    def refuse(request: HttpRequest, error: RequestValidationError) -> JSONResponse:
        # Without the input: it may be long, or have characters that cannot be encoded.
        return JSONResponse(
            {"detail": [{key: fault[key] for key in ("type", "loc", "msg")} for fault in error.errors()]},
            status_code=422,
        )

    @api.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the service is up, and what it recognises."""
        # Not among the threads that wait for the pipeline: it answers however many do.
        return {"status": "ok", "model": name, "labels": labels_of(nlp)}

    @api.post("/extract")
    def extract(request: Request) -> Response:
        """The skills of one text or several."""
        # The memory zone gives back the strings of these texts.
        texts = request.all_texts()
        with lock, nlp.memory_zone():
            found = zip(texts, find_skills(nlp, texts), strict=True)
            results = [to_result(text, skills, request.unit) for text, skills in found]
        return Response(model=name, unit=request.unit, results=results)

    return api


def model_name(nlp: Language) -> str:
    return f"{nlp.meta['lang']}_{nlp.meta['name']} {nlp.meta['version']}"


def labels_of(nlp: Language) -> Sequence[str]:
    return sorted({label for labels in nlp.pipe_labels.values() for label in labels})


def to_result(text: str, skills: Sequence[Row], unit: Unit) -> Result:
    offsets = utf16_offsets(text) if unit is Unit.utf16 else range(len(text) + 1)
    places = ({"start": offsets[skill["start"]], "end": offsets[skill["end"]]} for skill in skills)
    return Result(entities=[Entity(**skill | place) for skill, place in zip(skills, places, strict=True)])


if __name__ == "__main__":
    app()
