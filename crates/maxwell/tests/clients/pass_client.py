"""The official openai package through a pass-through gateway: python pass_client.py BASE_URL. Prints one line per check."""

import asyncio
import sys

import openai

(BASE_URL,) = sys.argv[1:]
ASKED = {"model": "any", "messages": [{"role": "user", "content": "the end"}], "max_tokens": 8, "temperature": 0}


def streamed(client):
    """Pieces, usage at the end, and what only this server has."""
    stream = client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[-1].usage.completion_tokens >= 1, chunks[-1]
    assert chunks[-1].timings["predicted_n"] >= 1, chunks[-1]
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="none", max_retries=0) as client:
        answers = await asyncio.gather(*(client.chat.completions.create(**ASKED) for _ in range(3)))
        return [answer.choices[0].message.content for answer in answers]


with openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0) as client:
    assert list(client.models.list()), "no model"
    print("models")
    raw = client.chat.completions.with_raw_response.create(**ASKED, extra_body={"timings_per_token": True, "top_k": 3})
    assert len(raw.headers["x-maxwell-receipt"]) == 16, raw.headers
    text = raw.parse().choices[0].message.content
    print("whole")
    assert streamed(client) == text, "streamed otherwise"
    print("streamed")
    assert asyncio.run(asynchronous()) == [text] * 3, "answers of the same question differ"
    print("asynchronous")
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
    answer = client.chat.completions.create(**ASKED, tools=[tool], tool_choice="none")
    assert answer.choices[0].finish_reason in ("stop", "length"), answer
    print("tools")
    try:
        client.chat.completions.create(**{**ASKED, "messages": "no list"})
        raise AssertionError("taken")
    except openai.APIStatusError as error:
        assert 400 <= error.status_code < 600, error
    print("errors")
