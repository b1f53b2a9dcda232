"""The official openai package against a gateway: python openai_client.py BASE_URL MODEL. Prints one line per check."""

import asyncio
import sys

import openai

BASE_URL, MODEL = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "the end"}]
# Greedy, so that the same question has the same answer however it is asked.
ASKED = {"model": MODEL, "messages": MESSAGES, "max_tokens": 8, "temperature": 0}


def expect(kind, status, ask):
    """The error that the package makes of an answer, and only that one."""
    try:
        ask()
    except openai.APIStatusError as error:
        assert type(error) is kind, (type(error), kind)
        assert error.status_code == status, error
        assert error.type in ("invalid_request_error", "server_error"), error.body
        return error
    raise AssertionError(f"{kind} did not come")


def whole(client):
    answer = client.chat.completions.create(**ASKED)
    assert answer.object == "chat.completion" and answer.model == MODEL, answer
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert 1 <= usage.completion_tokens <= 8, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    text = client.completions.create(model=MODEL, prompt="the end", max_tokens=4)
    assert text.object == "text_completion" and isinstance(text.choices[0].text, str), text
    return choice.message.content


def streamed(client):
    stream = client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens >= 1, chunks[-1]
    parts = [chunk.choices[0] for chunk in chunks[:-1]]
    assert parts[0].delta.role == "assistant", parts
    assert [part.finish_reason for part in parts[:-1]] == [None] * (len(parts) - 1), parts
    assert parts[-1].finish_reason in ("stop", "length"), parts
    return "".join(part.delta.content or "" for part in parts)


async def asynchronous(key):
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(4)))
        stream = await client.chat.completions.create(**ASKED, stream=True)
        parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
        return [answer.choices[0].message.content for answer in answers] + ["".join(parts)]


def headers(client):
    raw = client.chat.completions.with_raw_response.create(**ASKED)
    receipt = raw.headers["x-maxwell-receipt"]
    assert len(receipt) == 16 and int(receipt, 16) >= 0, receipt
    assert raw.parse().choices, raw.text


def errors(client):
    create = client.chat.completions.create
    bad = expect(openai.BadRequestError, 400, lambda: create(**(ASKED | {"n": 2})))
    assert bad.param == "n", bad.body
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    tools = expect(openai.BadRequestError, 400, lambda: create(**ASKED, tools=[tool]))
    assert "tools" in tools.message, tools.message
    expect(openai.BadRequestError, 400, lambda: create(**ASKED, logit_bias={"1": 5}))
    found = expect(openai.NotFoundError, 404, lambda: create(**(ASKED | {"model": "another"})))
    assert found.param == "model", found.body
    expect(openai.NotFoundError, 404, lambda: client.embeddings.create(model=MODEL, input="x"))
    stranger = openai.OpenAI(base_url=BASE_URL, api_key="nobody", max_retries=0)
    expect(openai.AuthenticationError, 401, lambda: stranger.chat.completions.create(**ASKED))


def limits(key):
    limited = openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0)
    limited.chat.completions.create(**ASKED)
    error = expect(openai.RateLimitError, 429, lambda: limited.chat.completions.create(**ASKED))
    assert int(error.response.headers["retry-after"]) >= 1, error.response.headers


def main():
    good, limited = sys.stdin.read().split()
    client = openai.OpenAI(base_url=BASE_URL, api_key=good, max_retries=0)
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    expect(openai.NotFoundError, 404, lambda: client.models.retrieve("another"))
    print("models")
    text = whole(client)
    print("whole")
    assert streamed(client) == text
    print("streamed")
    assert asyncio.run(asynchronous(good)) == [text] * 5
    print("asynchronous")
    headers(client)
    print("headers")
    errors(client)
    print("errors")
    limits(limited)
    print("limits")


main()
