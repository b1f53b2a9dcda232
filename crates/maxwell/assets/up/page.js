// Keeps the page at the state that the gateway pushes. Everything that comes is text: it is never parsed as HTML, and
// nothing is computed here, so that the page with and without scripts can't differ. Must never leave a server looking
// well when nothing is known of it any more.

const RETRY_MS = 3000;

const byId = (id) => document.getElementById(id);

const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const make = (name, children, attributes = {}) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

// Builds a part anew only if it changed: a screen reader should not read an old alarm again.
const shown = new Map();
const rebuild = (id, content, build) => {
  const key = JSON.stringify(content);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  byId(id).replaceChildren(...build(content));
};

const alarmParts = (alarm) => {
  if (alarm === null) return [];
  const facts = alarm.facts.map(({ name, value }) =>
    make("div", [make("dt", [name]), make("dd", [value])]),
  );
  return [make("h2", [alarm.headline]), make("dl", facts)];
};

const verdictRow = ({ tone, time, tag, mark, outcome, why }) =>
  make(
    "tr",
    [
      make("td", [time]),
      make("td", [make("code", [tag])]),
      make("td", [
        make("b", [make("span", [mark], { "aria-hidden": "true" }), ` ${outcome}`]),
        " ",
        make("span", [why], { class: "why" }),
      ]),
    ],
    { "data-tone": tone },
  );

const show = (view) => {
  document.title = view.title;
  for (const element of document.querySelectorAll("[data-text]")) {
    setText(element, view[element.dataset.text]);
  }
  for (const element of document.querySelectorAll("[data-title]")) {
    element.title = view[element.dataset.title];
  }
  for (const element of document.querySelectorAll("[data-count]")) {
    const count = view[element.dataset.count];
    setText(element, count.text);
    element.parentElement.dataset.tone = count.tone;
  }
  byId("state").dataset.tone = view.tone;
  rebuild("alarm", view.alarm, alarmParts);
  rebuild("verdicts", view.verdicts, (verdicts) => verdicts.map(verdictRow));
  byId("none").hidden = view.verdicts.length > 0;
};

const setLink = (text, lost) => {
  setText(byId("link"), text);
  document.body.classList.toggle("lost", lost);
};

const lose = () => {
  setLink("Connection lost: this is the last known state. The gateway has ended, or has no room for another viewer.", true);
  const state = byId("state");
  // A server that was killed stays so.
  if (state.dataset.tone === "bad") return;
  state.dataset.tone = "none";
  setText(state.querySelector("[data-text=mark]"), "○");
  setText(state.querySelector("[data-text=state]"), "unknown");
};

const connect = () => {
  const events = new EventSource("/events");
  events.onmessage = (event) => {
    show(JSON.parse(event.data).view);
    setLink("Live", false);
  };
  events.onerror = () => {
    lose();
    // After a status other than 200 the browser does not try again by itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
};

connect();
