"use strict";
// The recommendation page. Content is only inserted as text, never as markup.

const at = (id) => document.getElementById(id);
const UNDO_SECONDS = 5; // delay before a rating is sent, during which it can be undone
const state = { about: null, ratings: new Map(), turn: 0, waiting: null };

function make(tag, text, kind) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

async function ask(path, body, more) {
  const headers = {};
  const key = sessionStorage.getItem("key");
  if (key) headers["X-API-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), ...more } : { headers });
  const reply = await answer.json();
  if (answer.status === 401) at("key-form").hidden = false;
  if (!answer.ok) throw new Error(reply.error ? reply.error.message : `the service answered ${answer.status}`);
  return reply;
}

function say(text, bad) {
  at("said").textContent = text;
  at("said").className = bad ? "bad" : "soft";
}

// The noun for items: films for MovieLens, else items.
function noun(count) {
  const films = state.about && /^ml-|movielens/i.test(state.about.dataset);
  return (films ? ["film", "films"] : ["item", "items"])[count === 1 ? 0 : 1];
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

function stars(value) {
  const shown = make("span", `★ ${value.toFixed(1)}`, "stars");
  shown.setAttribute("aria-label", `predicted ${value.toFixed(1)} stars`);
  return shown;
}

// The button stores a rating, not the selection: arrow keys pass over other values.
function rater(title, chosen, onChosen) {
  const pick = make("select");
  const button = make("button", "Rate", "rate");
  button.type = "button";
  button.hidden = true;
  button.setAttribute("aria-label", `store your rating of ${title}`);
  pick.setAttribute("aria-label", `your rating of ${title}`);
  pick.append(new Option("rate", ""));
  const { low, high } = state.about.scale;
  const step = (high - low) % 0.5 === 0 && high - low <= 5 ? 0.5 : (high - low) / 10;
  for (let value = high; value >= low - 1e-9; value -= step) pick.append(new Option(`${value} ★`, value));
  if (chosen !== undefined) pick.value = chosen;
  pick.addEventListener("change", () => { button.hidden = !pick.value || Number(pick.value) === chosen; });
  button.addEventListener("click", () => { button.hidden = true; onChosen(Number(pick.value)); });
  const both = make("span", undefined, "rater");
  both.append(pick, button);
  return both;
}

function film(item, extra) {
  const row = make("li");
  const what = make("span", undefined, "what");
  what.append(make("b", item.title || item.id), make("small", item.genres.join(", ")));
  if (item.because && item.because.length) {
    what.append(make("small", `because of ${item.because.map((one) => one.title || one.id).join("; ")}`));
  }
  row.append(what, ...extra);
  return row;
}

function show(answers) {
  at("lists").replaceChildren(...answers.map((answer) => {
    const list = make("section", undefined, "list");
    const source = { personal: "personal", folded_in: "from the ratings just given", popular: "popular with all" };
    const assigned = { share: "assigned by the experiment", holdout: "outside the experiment", override: "requested" };
    list.setAttribute("aria-label", `arm ${answer.arm}`);
    list.append(make("h2", `Arm ${answer.arm}`));
    const how = make("p", `${source[answer.source]} · ${assigned[answer.assignment] || answer.assignment}`, "soft");
    how.title = `model ${answer.model_version}`;
    list.append(how);
    if (answer.fallback) list.append(make("p", `fallback: ${answer.fallback}`, "bad"));
    const items = make("ol");
    for (const item of answer.items) {
      const rate = rater(item.title || item.id, undefined, (value) => rated(item, value, answer));
      items.append(film(item, [stars(item.predicted_rating), rate]));
    }
    list.append(items);
    if (!answer.items.length) list.append(make("p", "No items to recommend.", "soft"));
    return list;
  }));
}

async function rated(item, value, answer) {
  if (mode() === "session") return remember(item, value);
  const event = {
    event_id: crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`,
    kind: "rating", user_id: answer.user_id, item_id: item.id, rating: value, exposure_id: answer.exposure_id,
  };
  await send(); // a pending rating goes first
  const title = item.title || item.id;
  const undo = make("button", "Undo", "plain");
  undo.type = "button";
  undo.setAttribute("aria-label", `take back your rating of ${title}`);
  undo.addEventListener("click", () => {
    clearTimeout(state.waiting.timer);
    state.waiting = null;
    say(`${title}: rating taken back`);
  });
  at("said").className = "soft";
  at("said").replaceChildren(`${title}: ${value} stars `, undo);
  state.waiting = { event, title, value, timer: setTimeout(send, 1000 * UNDO_SECONDS) };
}

// Store the pending rating; leaving the page sends it at once.
async function send(leaving) {
  const waiting = state.waiting;
  if (!waiting) return;
  state.waiting = null;
  clearTimeout(waiting.timer);
  try {
    await ask("/v1/feedback", { events: [waiting.event] }, leaving === true ? { keepalive: true } : {});
    if (leaving !== true) await refresh(`${waiting.title}: ${waiting.value} stars stored`);
  } catch (error) {
    say(error.message, true);
  }
}

function remember(item, value) {
  state.ratings.set(item.id, { item, value });
  drawRated();
  refresh();
}

function drawRated() {
  at("rated-head").hidden = state.ratings.size === 0;
  at("rated").replaceChildren(...[...state.ratings.values()].map(({ item, value }) => {
    const away = make("button", "remove", "plain");
    away.type = "button";
    away.setAttribute("aria-label", `remove ${item.title || item.id}`);
    away.addEventListener("click", () => { state.ratings.delete(item.id); drawRated(); refresh(); });
    return film({ ...item, because: null }, [rater(item.title, value, (next) => remember(item, next)), away]);
  }));
}

async function refresh(first) {
  const wanted = { count: 10, explain: true, genres: at("genre").value ? [at("genre").value] : [] };
  if (mode() === "user") {
    wanted.user_id = at("user").value.trim();
    if (!wanted.user_id) return;
  } else {
    if (!state.ratings.size) { at("lists").replaceChildren(); say(`Rate a ${noun(1)} to begin.`); return; }
    wanted.ratings = [...state.ratings.values()].map(({ item, value }) => ({ item_id: item.id, rating: value }));
  }
  const arms = at("beside").checked ? state.about.arms.map((arm) => arm.name) : [at("arm").value];
  const requests = arms.map((arm) => (arm ? { ...wanted, arm } : wanted));
  const turn = ++state.turn;
  const began = performance.now();
  try {
    const { answers } = await ask("/v1/recommendations/batch", { requests });
    if (turn !== state.turn) return; // superseded by a newer request
    show(answers);
    const took = `${answers[0].items.length} ${noun(answers[0].items.length)} in ${(performance.now() - began).toFixed(0)} ms`;
    say(first ? `${first}; ${took}` : took);
  } catch (error) {
    if (turn === state.turn) say(error.message, true);
  }
}

async function find(event) {
  event.preventDefault();
  const text = at("title").value.trim();
  if (!text) return;
  try {
    const { items } = await ask(`/v1/items?count=8&title=${encodeURIComponent(text)}`);
    at("found").replaceChildren(...items.map((item) =>
      film(item, [rater(item.title || item.id, undefined, (value) => remember(item, value))])));
    say(items.length ? `${items.length} ${noun(items.length)} found` : "No title contains that.");
  } catch (error) {
    say(error.message, true);
  }
}

async function begin() {
  try {
    const about = state.about = await ask("/v1/about");
    at("key-form").hidden = true;
    at("about").textContent = `${about.dataset}: ${about.users.toLocaleString("en")} users, `
      + `${about.items.toLocaleString("en")} ${noun(about.items)}; experiment ${about.experiment}, revision ${about.revision}`;
    for (const word of document.querySelectorAll("[data-noun]")) word.textContent = noun(Number(word.dataset.noun));
    at("genre").replaceChildren(new Option("any", ""), ...about.genres.map((name) => new Option(name, name)));
    const arms = about.arms.map((arm) => new Option(`${arm.name} (${Math.round(arm.share * 100)}%)`, arm.name));
    at("arm").replaceChildren(new Option("as assigned", ""), ...arms);
    at("users").replaceChildren(...about.example_users.map((user) => new Option(user, user)));
    at("examples").textContent = `for example ${about.example_users.slice(0, 4).join(", ")}`;
    if (!at("user").value) at("user").value = about.example_users[0];
    await refresh();
  } catch (error) {
    at("about").textContent = "";
    say(error.message, true);
  }
}

at("user-form").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
at("search-form").addEventListener("submit", find);
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", at("key").value);
  begin();
});
addEventListener("pagehide", () => send(true));
for (const id of ["genre", "arm", "beside"]) at(id).addEventListener("change", () => refresh());
for (const radio of document.querySelectorAll("input[name=mode]")) {
  radio.addEventListener("change", () => {
    at("user-form").hidden = mode() !== "user";
    at("session-form").hidden = mode() !== "session";
    refresh();
  });
}
begin();
