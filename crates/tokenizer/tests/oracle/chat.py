"""Writes fixtures/chat.json: what Jinja makes of chat templates, set up as Transformers does.

    python chat.py MODEL.gguf > ../fixtures/chat.json

MODEL is SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB); its template is the first. The others are written
here, each in the manner of a family of models. `null` stands for a conversation that the template refuses.
Needs: gguf, jinja2.
"""

import json
import sys

import gguf
import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Roles in the names of control tokens; the end of a turn is `eos_token`.
BARS = """{% for message in messages %}
{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token }}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

# Trimmed contents, a loop without its first element, a default for the date: there is no clock here.
HEADERS = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{#- The system message has a place of its own. -#}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|head|>system<|/head|>\\n\\nToday: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|/head|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif message.role == "tool" %}
        {{- "<|head|>tool<|/head|>\\n\\n" }}
        {%- if message.content is mapping %}
            {{- message.content | tojson }}
        {%- else %}
            {{- {"output": message.content} | tojson }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\\n\\n' }}
{%- endif %}
"""

# Roles must alternate; the system message goes into the first turn of the user.
TURNS = """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}
{%- set prefix = messages[0]['content'] + '\\n\\n' -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set prefix = "" -%}{%- set turns = messages -%}{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}{% for item in message['content'] %}{{ item.text }}{% endfor %}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\\n'}}{%- endif -%}
"""

# Thoughts are taken out of earlier turns; a namespace; the list backwards; methods of strings.
THINKING = """{%- if tools %}{{- raise_exception("no tools") }}{%- endif %}
{%- set ns = namespace(found=false, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if not ns.found and message.role == "user" and not message.content.startswith('<answer>') %}
        {%- set ns.found = true %}{%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" and '</think>' in content %}
        {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- if loop.index0 > ns.last %}
            {%- set content = '<think>\\n' + thoughts.strip() + '\\n</think>\\n\\n' + content %}
        {%- endif %}
    {%- endif %}
    {%- if message.get('tool_calls') %}{%- continue %}{%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""

# A macro, a filter block, a set block, lists that are put together, break.
MACROS = """{%- macro turn(message, end='') -%}
[{{ message.role | upper }}]{{ caller() if caller else '' }} {{ message.content }}{{ end }}
{%- endmacro -%}
{%- set first = [{"role": "system", "content": "You are concise."}] -%}
{%- for message in (first + messages if messages and messages[0].role != 'system' else messages) -%}
{%- if loop.index > 6 %}{% break %}{% endif -%}
{{ turn(message, end='' if loop.last else ' /') }}
{% endfor -%}
{% set tail %}
{% filter upper %}end{% endfilter %} {{ messages | length }}
{% endset %}
{{ tail | trim }} {{ messages | map(attribute='role') | join(',') }}
{{ messages | selectattr('role', 'equalto', 'user') | list | length }}
"""

# Each is a template with its expected text: what Python and Jinja do beyond the common.
EXPRESSIONS = [
    "{{ \"they're BILL's friends, o'neill\".title() }}", "{{ ' \\x1c\\t a \\u00a0'.strip() ~ '|' }}",
    "{{ 'xxaxbxx'.strip('x') }}|{{ 'xya'.lstrip('yx') }}|{{ 'ayx'.rstrip('xy') }}", "{{ 'a,b,,c'.split(',') | join('|') }}",
    "{{ ' a  b '.split() | join('|') }}", "{{ 'a-b-c'.split('-', 1)[-1] }}", "{{ 'aaa'.replace('a', 'bc', 2) }}",
    "{{ 'aaa'.replace('a', '') ~ '|' }}", "{{ 'ab'.replace('', '-') }}", "{{ 'abc'.startswith(('x', 'ab')) }}",
    "{{ 'abc'.endswith('bc') }} {{ 'abc'.endswith(('x', 'y')) }}", "{{ 'Straße İ'.upper() }} {{ 'ÀÉ ΑΣ'.lower() }}",
    "{{ none }} {{ true }} {{ 1.0 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ 2 ** 10 }}", "{{ 'é<b>&\\'\"\\\\u003c\\n\\t\\x01'|tojson }}",
    "{{ [1, 2.5, true, none, 'x'] | tojson }} {{ {'a': ['b']} | tojson }}", "{{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }}",
    "{% for key, value in {'a': 1}.items() %}{{ key }}={{ value }}{% endfor %}", "{{ undefined_thing }}|{{ undefined_thing is defined }}",
    "{{ none is iterable }} {{ 'a' is sequence }} {{ [1] is mapping }} {{ {} is mapping }}", "{{ 'abcdef'[1:-1] }} {{ 'abc'[::-1] }} {{ [1,2,3][-1] }}",
    "{{ '%s is %05.1f' | format('x', 2.25) }}", "{{ 'a' if false }}|{{ 'b' if true else 'c' }}", "{{ [3,1,2] | sort | join }} {{ [1,2,3] | sum }} {{ [1,2] | first }}",
    "{{ 'a' in 'cat' and 'b' not in ['c'] }}", "{{ 'x' * 3 + 'y' }} {{ [1] * 2 + [3] }}", "{{ '  x ' | trim }}|{{ 'a' | default('b') }}|{{ '' | default('b', true) }}",
    "{% for a in [1,2,3] if a != 2 %}{{ loop.index }}{{ a }}{{ ',' if not loop.last }}{% else %}none{% endfor %}", "{{ raise_exception('no') }}",
    "{{ undefined_thing.attribute }}", "{% set ns = namespace(a=1) %}{% for i in range(3) %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
]

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "Hello there"), ("assistant", "Hi!"), ("user", " spaces around  \n")],
    [("user", "")],
    [("system", " s "), ("user", "a</think>b"), ("assistant", "<think>\nhm\n</think>\n\nok"), ("user", "\n\nx")],
    [("user", "{{ evil }} {% x %} <|im_end|>\nnext"), ("assistant", "é 🙂 \u3000"), ("user", "0")],
    [("user", "u"), ("tool", "{\"a\": 1}"), ("assistant", "<think>x</think>y")],
    [("assistant", "first"), ("user", "u")],
    [],
]


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made.globals["raise_exception"] = raise_exception
    return made


def render(template, messages, add_generation_prompt):
    try:
        return environment().from_string(template).render(
            messages=[{"role": role, "content": content} for role, content in messages],
            add_generation_prompt=add_generation_prompt,
            bos_token="<s>",
            eos_token="</s>",
            tools=None,
            documents=None,
        )
    except jinja2.exceptions.TemplateError:
        return None


def main():
    model = gguf.GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
    templates = [model, BARS, HEADERS, TURNS, THINKING, MACROS]
    expected = [
        [[render(template, messages, prompt) for prompt in (False, True)] for messages in CONVERSATIONS]
        for template in templates
    ]
    fixture = {
        "templates": templates,
        "conversations": CONVERSATIONS,
        "expected": expected,
        "expressions": [[source, render(source, [], False)] for source in EXPRESSIONS],
    }
    json.dump(fixture, sys.stdout, ensure_ascii=True, separators=(",", ":"))
    print()


main()
