#!/usr/bin/env python3
"""HTTP clients against the real `infill serve`: the official `openai` package, curl, and the request that Zed sends.

    tests/clients/over_http.py [target/release/infill]

The server gets a runtime folder of its own and is ended at the end. The package is installed into target/clients-venv, at the
version below. Exits with 1 when a check did not hold, and names it.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import packages

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "openai==3.54.0"
BEFORE, AFTER = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    ret", "\n\n\nprint(sub(3, 1))\n"


class Server:
    """`infill serve` on a port of its own choice."""

    def __init__(self, program: Path, folder: Path, **variables: str) -> None:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("INFILL_")}
        ours |= {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_CONFIG_HOME": str(folder / "config"), **variables}
        self.log = folder / "serve.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0"], stderr=log, env=ours)

    def address(self) -> str:
        for _ in range(3000):
            if found := re.search(r"listening at (http://\S+)", self.log.read_text()):
                return found[1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit(f"FAIL the server does not listen:\n{self.log.read_text()}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit("FAIL the server did not end after SIGTERM")
        assert code == 0, f"the server ended with {code}:\n{self.log.read_text()}"


FAILED = []


def check(what: str):
    """A case: runs it, and says how it went."""

    def run(case):
        try:
            said = case()
        except Exception as error:  # a case must not end the others
            FAILED.append(what)
            print(f"FAIL {what}: {type(error).__name__}: {error}")
        else:
            print(f"ok   {what}" + (f": {said}" if said else ""))

    return run


def with_openai(address: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)
    model = client.models.list().data[0].id
    whole = client.completions.create(model=model, prompt=BEFORE, suffix=AFTER, max_tokens=24, stop=["\n"], temperature=0, logprobs=2)

    @check("openai: a completion with prompt and suffix")
    def _():
        choice = whole.choices[0]
        assert choice.text and "\n" not in choice.text and choice.finish_reason in ("stop", "length"), whole
        assert "".join(choice.logprobs.tokens) == choice.text and len(choice.logprobs.top_logprobs) == len(choice.logprobs.tokens)
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        return repr(choice.text)

    @check("openai: streamed, the same text")
    def _():
        stream = client.completions.create(model=model, prompt=BEFORE, suffix=AFTER, max_tokens=24, stop=["\n"], temperature=0, stream=True,
                                           stream_options={"include_usage": True})
        events = list(stream)
        text = "".join(event.choices[0].text for event in events if event.choices)
        assert text == whole.choices[0].text, text
        assert events[-1].usage.prompt_tokens_details.cached_tokens > 0, events[-1]
        return f"{len(events)} events, {events[-1].usage.prompt_tokens_details.cached_tokens} tokens from the cache"

    @check("openai: seeds, n, our own fields")
    def _():
        drawn = [client.completions.create(model=model, prompt="import os\nimport ", max_tokens=8, temperature=1, top_p=0.9, seed=5) for _ in range(2)]
        assert drawn[0].choices[0].text == drawn[1].choices[0].text
        several = client.completions.create(model=model, prompt=BEFORE, suffix=AFTER, n=3, max_tokens=4)
        assert len({choice.text for choice in several.choices}) == 3, several
        prefilled = client.completions.create(model=model, prompt=BEFORE, suffix=AFTER, max_tokens=0, extra_body={"priority": "background"})
        assert prefilled.choices[0].text == ""

    @check("openai: errors are its own exceptions")
    def _():
        for ask, error in [
            (lambda: client.completions.create(model=model, prompt="x " * 3000, max_tokens=4), openai.BadRequestError),
            (lambda: client.completions.create(model=model, prompt="x", temperature=3), openai.BadRequestError),
            (lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}]), openai.BadRequestError),
            (lambda: openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0).models.list(), openai.AuthenticationError),
        ]:
            try:
                ask()
            except error as refused:
                assert len(refused.body["message"]) > 20, refused
            else:
                raise AssertionError(f"no {error.__name__}")


def with_chat(address: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
    whole = client.chat.completions.create(model="any", messages=messages, max_tokens=8, temperature=0, logprobs=True, top_logprobs=2)

    @check("openai: a conversation, with a model that has a template")
    def _():
        choice = whole.choices[0]
        assert choice.message.role == "assistant" and choice.message.content is not None
        assert not choice.message.content.startswith(" "), "the blank after Assistant: is not the answer's"
        assert choice.logprobs.content and len(choice.logprobs.content[0].top_logprobs) == 2
        stream = client.chat.completions.create(model="any", messages=messages, max_tokens=8, temperature=0, stream=True)
        text = "".join(event.choices[0].delta.content or "" for event in stream)
        assert text == choice.message.content, (text, choice.message.content)


def curl(address: str, path: str, *more: str, token: str = "secret") -> tuple[int, str]:
    command = ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {token}", *more, address + path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body, _, code = said.rpartition("\n")
    return int(code), body


def with_curl(address: str) -> None:
    @check("curl: health, models, metrics")
    def _():
        assert curl(address, "/health") == (200, '{"status":"ok"}')
        ours = json.loads(curl(address, "/v1/models")[1])["data"][0]["infill"]
        assert ours["context"] > 256 and ours["bytes_per_token"] > 1.5 and re.fullmatch("[0-9a-f]{16}", ours["fingerprint"]), ours
        code, metrics = curl(address, "/metrics")
        assert code == 200 and "infill_prompt_tokens_reused_total" in metrics
        assert curl(address, "/metrics", token="wrong")[0] == 401

    @check("curl: -d as it comes, streamed")
    def _():
        code, body = curl(address, "/v1/completions", "-N", "-d", json.dumps({"prompt": BEFORE, "suffix": AFTER, "max_tokens": 4, "stream": True}))
        events = [event.removeprefix("data: ") for event in body.strip().split("\n\n")]
        assert code == 200 and events[-1] == "[DONE]" and json.loads(events[0])["object"] == "text_completion", body


def with_zed(address: str) -> None:
    @check("Zed: its prediction request, with DeepSeek's and with Qwen's markers")
    def _():
        for prompt in (f"<｜fim▁begin｜>{BEFORE}<｜fim▁hole｜>{AFTER}<｜fim▁end｜>", f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"):
            body = {"model": "infill", "prompt": prompt, "max_tokens": 64, "stop": ["<|endoftext|>", "<|file_sep|>"]}
            code, said = curl(address, "/v1/completions", "-H", "Content-Type: application/json", "-d", json.dumps(body))
            text = json.loads(said)["choices"][0]["text"]
            assert code == 200 and text.startswith("urn") and "\n" not in text, said
        return repr(text)


def chat_model(folder: Path) -> Path:
    """The small reference checkpoint, with DeepSeek's template beside it."""
    model = folder / "instruct"
    shutil.copytree(ROOT / "fixtures/reference/lite", model)
    # It has no tokenizer, and few rows: single bytes are enough for it.
    tokenizer = json.loads((ROOT / "fixtures/nano/tokenizer.json").read_text())
    letters = [text for text in tokenizer["model"]["vocab"] if len(text) == 1]
    tokenizer["model"] |= {"vocab": {text: id for id, text in enumerate(letters)}, "merges": []}
    for id, token in enumerate(tokenizer["added_tokens"], len(letters)):
        token["id"] = id
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    template = "{{ 'User: ' + message['content'] + '\n\n' }}{{ 'Assistant: ' + message['content'] + eos_token }}{{ 'Assistant:' }}"
    (model / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return model


def main() -> int:
    packages.need(PACKAGE)
    program = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/infill").resolve()
    if not shutil.which("curl"):
        sys.exit("!! NOT RUN: curl is missing: apt-get install curl")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token = {"INFILL_SERVER_TOKEN_ENV": "INFILL_TOKEN", "INFILL_TOKEN": "secret"}
        with Server(program, folder, **token) as server:
            address = server.address()
            with_openai(address)
            with_curl(address)
            with_zed(address)
        with Server(program, folder, INFILL_MODEL=str(chat_model(folder)), **token) as server:
            with_chat(server.address())
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
