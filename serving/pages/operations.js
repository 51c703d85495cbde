"use strict";
const EVERY = 2000, KEPT = 150, series = {};
const text = value => value === null || value === undefined ? "–" : String(value);
const number = (value, digits = 3) => value === null || value === undefined ? "–" : Number(value).toLocaleString("en", {maximumFractionDigits: digits});
const percent = value => value === null || value === undefined ? "–" : (100 * value).toFixed(value < 0.1 ? 1 : 0) + "%";
const clock = at => at ? new Date(at * 1000).toLocaleTimeString() : "–";
function node(name, attributes, ...children) {
  const made = name === "svg" || name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.replace("svg:", "")) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  for (const child of children.flat()) made.append(child instanceof Node ? child : text(child));
  return made;
}
const table = (heads, rows) => node("div", {class: "scroll"}, node("table", {}, node("thead", {}, node("tr", {}, heads.map(head => node("th", {scope: "col"}, head)))),
  node("tbody", {}, rows.map(row => node("tr", {}, row.map(cell => cell instanceof Element && cell.tagName === "TD" ? cell : node("td", {}, cell)))))));
function spark(name, unit) {
  const points = series[name] || [], width = 320, height = 70;
  const top = Math.max(1e-9, ...points.map(point => point.value));
  const shape = points.map((point, place) => `${(place / Math.max(1, KEPT - 1) * width).toFixed(1)},${(height - 4 - point.value / top * (height - 18)).toFixed(1)}`).join(" ");
  const last = points.length ? points[points.length - 1].value : null;
  return node("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name}, now ${number(last, 1)} ${unit}`},
    node("svg:polyline", {points: shape, fill: "none", stroke: "var(--mark)", "stroke-width": 2}),
    node("svg:text", {x: 0, y: 10}, `${name}: ${number(last, 1)} ${unit}`));
}
function remember(name, value, at) {
  const points = series[name] = series[name] || [];
  points.push({value, at});
  if (points.length > KEPT) points.shift();
}
function forest(comparisons) {
  const shown = comparisons.filter(row => row.interval);
  if (!shown.length) return node("p", {class: "soft"}, "No interval yet: each arm needs 100 users whose outcome is fixed.");
  const width = 640, line = 34, reach = Math.max(...shown.flatMap(row => [Math.abs(row.interval.low), Math.abs(row.interval.high)])) * 1.1;
  const x = value => 220 + (value / reach + 1) / 2 * (width - 230);
  return node("svg", {viewBox: `0 0 ${width} ${line * shown.length + 18}`, role: "img", "aria-label": "differences with intervals"},
    node("svg:line", {x1: x(0), x2: x(0), y1: 0, y2: line * shown.length, stroke: "var(--soft)", "stroke-dasharray": "3 3"}),
    shown.map((row, place) => { const y = place * line + line / 2; return [
      node("svg:text", {x: 0, y: y + 4}, `${row.treatment} − ${row.control}, ${row.metric}`),
      node("svg:line", {x1: x(row.interval.low), x2: x(row.interval.high), y1: y, y2: y, stroke: "var(--mark)", "stroke-width": 3}),
      node("svg:circle", {cx: x(row.interval.estimate), cy: y, r: 5, fill: "var(--mark)"})]; }),
    node("svg:text", {x: x(0) - 3, y: line * shown.length + 14}, "0"));
}
const tones = {"ship": "good", "stop": "bad", "not yet": "wait", "no verdict": "bad"};
function experiment(results) {
  const arms = results.arms.map(arm => [arm.arm, percent(results.shares[arm.arm]), number(arm.users, 0), number(arm.users_matured, 0), number(arm.exposures, 0),
    percent(arm.hit_rate), number(arm.rmse), number(arm.ratings, 0), number(arm.p50_milliseconds, 1), number(arm.p99_milliseconds, 1), number(arm.fallbacks, 0), number(arm.items_shown, 0)]);
  const shadows = Object.entries(results.shadows || {}).map(([arm, row]) => [arm, number(row.pairs, 0), percent(row.overlap), number(row.rank_correlation, 2), number(row.slower_by_milliseconds, 1)]);
  const left = Object.entries(results.left_out).map(([reason, count]) => `${count} × ${reason}`).join(", ");
  return node("section", {}, node("h2", {}, `Experiment ${results.experiment}, revision ${results.revision}`, node("span", {class: "soft"}, results.owner === "rollout" ? "  (a roll-out is moving it)" : "")),
    results.comparisons.map(row => node("p", {class: "verdict " + tones[row.verdict.decision]}, node("span", {}, `${row.treatment} against ${row.control}, ${row.metric}: ${row.verdict.words}`))),
    table(["arm", "share", "users", "outcome fixed", "answers", "hit rate", "online rmse", "ratings", "p50 ms", "p99 ms", "fallbacks", "items shown"], arms),
    node("h2", {class: "next"}, "Differences, intervals valid at every look"), forest(results.comparisons),
    shadows.length ? [node("h2", {class: "next"}, "Shadow answers beside the shown ones"), table(["arm", "pairs", "overlap", "rank correlation", "slower by ms"], shadows)] : [],
    node("p", {class: "soft"}, `Outcomes are fixed ${number(results.window_seconds, 0)} s after a user's first answer. ${results.crossed_users} users changed arm and are left out. ${left ? "Left out: " + left + ". " : ""}${results.lost_events ? results.lost_events + " events were lost." : ""} Replayed traffic compares predictions on what people did without seeing these lists; it is no lift.`));
}
function drift(watches) {
  const rows = Object.values(watches).flatMap(watch => watch.releases).flatMap(release => (release.signals || []).map(signal => [
    signal.signal, node("td", {class: signal.drifted ? "bad" : ""}, signal.drifted ? "drifted" : signal.windows_over ? "over once" : "quiet"),
    number(signal.distance), number(signal.threshold), percent(signal.false_alarm_rate), clock(signal.since),
    node("td", {class: "words"}, signal.largest.map(bin => `${bin.where}: ${percent(bin.expected)} → ${percent(bin.seen)}`).join("; ")), release.release_id.slice(0, 10)]));
  const advice = Object.values(watches).flatMap(watch => watch.releases).filter(release => release.advice).map(release => node("p", {class: "bad"}, release.advice));
  return node("section", {}, node("h2", {}, "Drift against each release's own profile"), advice,
    rows.length ? table(["signal", "state", "distance", "threshold", "false alarms", "since", "what moved", "release"], rows) : node("p", {class: "soft"}, "No full window of ratings yet."));
}
function log(entries) {
  const words = entry => entry.kind === "rollout" && entry.data.reason ? `${entry.data.event} ${entry.data.candidate} ${percent(entry.data.from)} → ${percent(entry.data.to)}: ${entry.data.reason}`
    : entry.kind === "rollout" ? `${entry.data.event} ${entry.data.plan ? entry.data.plan.candidate + " (" + entry.data.plan.release + ")" : ""}`
    : entry.kind === "audit" ? `${entry.data.actor} made revision ${entry.data.revision}${entry.data.reason ? ": " + entry.data.reason : ""}`
    : entry.kind === "drift" ? `${entry.data.signal} at ${number(entry.data.distance)} over ${number(entry.data.threshold)}` : JSON.stringify(entry.data);
  return node("section", {}, node("h2", {}, "What happened"), node("ol", {class: "log"}, entries.map(entry => node("li", {}, node("span", {class: "soft"}, `${clock(entry.at)} ${entry.kind} `), words(entry)))));
}
let before = null;
function draw(state) {
  const answers = state.experiments.flatMap(row => row.arms).reduce((sum, arm) => sum + arm.exposures, 0);
  if (before) remember("answers", Math.max(0, (answers - before.answers) / Math.max(0.1, state.at - before.at)), state.at);
  before = {answers, at: state.at};
  const slowest = Math.max(0, ...state.experiments.flatMap(row => row.arms).map(arm => arm.p99_milliseconds || 0));
  remember("p99", slowest, state.at);
  const versions = state.experiments.flatMap(row => Object.entries(row.releases).map(([arm, release]) => `${arm}: ${release}`));
  document.getElementById("main").replaceChildren(
    node("section", {class: "tiles"}, spark("answers", "a second"), spark("p99", "ms"),
      node("div", {class: "tile"}, node("span", {class: "soft"}, "answers so far"), node("b", {}, number(answers, 0))),
      node("div", {class: "tile"}, node("span", {class: "soft"}, "versions"), versions.map(version => node("div", {}, version)))),
    ...state.experiments.map(experiment), drift(state.drift), log(state.journal));
  document.getElementById("when").textContent = "as of " + clock(state.at);
}
async function refresh() {
  try {
    const answer = await fetch("/v1/operations", {headers: sessionStorage.token ? {Authorization: "Bearer " + sessionStorage.token} : {}});
    if (answer.status === 401) { const token = prompt("This service asks for its API key"); if (token) sessionStorage.token = token; }
    if (!answer.ok) throw new Error(answer.status);
    draw(await answer.json());
    document.body.classList.remove("offline");
  } catch (error) { document.body.classList.add("offline"); }
  setTimeout(refresh, EVERY);
}
refresh();
