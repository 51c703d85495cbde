"use strict";
// Experiments, roll-outs, drift and the journal, from GET /v1/operations.
const EVERY = 2000, TONES = {"ship": "good", "stop": "bad", "not yet": "wait", "no verdict": "bad", "secondary": "wait"};
const measure = name => METRICS[name] || [name.replace(/_/g, " "), 4, "a list"];
const METRICS = {hit_rate: ["hit rate", 4, "of lists"], accuracy: ["accuracy (− squared error)", 3, "stars²"]};

function verdict(row) {
  // The text begins with the decision, which has its colour.
  const {words, decision} = row.verdict, begins = words.toLowerCase().startsWith(decision) ? decision.length : 0;
  return node("div", {class: `verdict ${TONES[decision]}`}, node("span", {class: "soft"}, `${row.treatment} against ${row.control}, ${measure(row.metric)[0]}`),
    node("p", {}, node("b", {class: TONES[decision]}, words.slice(0, begins)), words.slice(begins)));
}

function intervals(comparisons) {
  const shown = comparisons.filter(row => row.interval);
  if (!shown.length) return node("p", {class: "soft"}, "No interval yet: each arm needs two users with a final outcome.");
  return shown.map(row => {
    const {low, high, estimate} = row.interval, [name, digits, unit] = measure(row.metric);
    const reach = 1.15 * Math.max(Math.abs(low), Math.abs(high), 1e-9), x = value => 50 + 50 * value / reach;
    const people = row.preferences, words = `${signed(estimate, digits)} (${signed(low, digits)} to ${signed(high, digits)}) ` +
      (people ? `of users: ${number(people.treatment, 0)} prefer ${row.treatment}, ${number(people.control, 0)} ${row.control}, ${number(people.ties, 0)} neither` : unit);
    return node("div", {class: "interval"}, node("span", {}, people ? `${row.treatment} preferred to ${row.control}, ${name}` : `${row.treatment} − ${row.control}, ${name}`),
      node("svg:svg", {viewBox: "0 0 100 20", preserveAspectRatio: "none", role: "img", "aria-label": words},
        node("svg:line", {class: "zero", x1: 50, x2: 50, y1: 0, y2: 20}),
        node("svg:line", {class: "span", x1: x(low), x2: x(high), y1: 10, y2: 10}),
        node("svg:line", {class: "point", x1: x(estimate), x2: x(estimate) + 0.01, y1: 10, y2: 10})),
      node("span", {class: "soft"}, words));
  });
}

function experiment(results) {
  const name = arm => node("td", {class: "left"}, arm, node("small", {title: results.releases[arm]}, results.releases[arm]));
  const arms = results.arms.map(arm => [name(arm.arm), percent(results.shares[arm.arm]), number(arm.users, 0), number(arm.users_matured, 0), number(arm.exposures, 0),
    number(arm.conversions, 0), percent(arm.hit_rate), fixed(arm.rmse, 3), number(arm.ratings, 0), `${number(arm.p50_milliseconds, 1)} / ${number(arm.p99_milliseconds, 1)}`, number(arm.fallbacks, 0), number(arm.items_shown, 0)]);
  const shadows = Object.entries(results.shadows).map(([arm, row]) => [arm, number(row.pairs, 0), percent(row.overlap), fixed(row.rank_correlation, 2), signed(row.slower_by_milliseconds, 1)]);
  const parts = results.segments.filter(row => row.interval).map(row => [row.treatment, node("td", {class: "left"}, row.segment),
    number(row.preferences ? row.preferences.treatment + row.preferences.control + row.preferences.ties : row.difference.control_users + row.difference.treatment_users, 0),
    node("td", {class: "words"}, row.verdict.words.replace(/^Secondary, decides nothing: /, ""))]);
  const left = Object.entries(results.left_out).map(([reason, count]) => `${number(count, 0)} × ${reason}`);
  const notes = [results.kind === "interleaved" ? `Interleaved: each user's list has items of all arms. ${results.arms.map(arm => `${arm.arm} brought ${number(arm.brought, 0)} items, credited with ${number(arm.credited, 0)} conversions`).join("; ")}. A preference, no lift.` : "", `Outcomes are final ${results.window} after a user's first list.`, results.comparisons.length ? `Sample ratio: p = ${number(Math.min(...results.comparisons.map(row => row.sample_ratio_p)), 3)}.` : "",
    results.alarms.length ? `Above a limit: ${results.alarms.join("; ")}.` : "",
    results.holdout ? `Held out: ${number(results.holdout.users, 0)} users, ${number(results.holdout.exposures, 0)} lists, hit rate ${percent(results.holdout.hit_rate)}.` : "",
    results.crossed_users ? `${number(results.crossed_users, 0)} users were shown another arm later and count in their first.` : "",
    left.length ? `Left out: ${left.join(", ")}.` : "", results.lost_events ? `${number(results.lost_events, 0)} events were lost: no verdict.` : "",
    "Replayed traffic compares predictions on logged behaviour: it measures no lift."];
  return node("section", {}, node("h2", {}, `Experiment ${results.experiment} `, node("small", {}, `revision ${results.revision}, these arms since ${day(results.since)}`)),
    node("div", {class: "verdicts"}, results.comparisons.map(verdict)),
    table(`arms of ${results.experiment}`, ["arm", "share", "users", "outcome fixed", "lists", "hits", "hit rate", "online rmse", "ratings", "p50 / p99 ms", "popular", "items shown"], arms),
    results.comparisons.length ? [node("h3", {}, "Differences, with intervals that are valid at every look"), intervals(results.comparisons)] : [],
    parts.length ? details(`segments ${results.experiment}`, `${parts.length} segments of users, secondary`, table("segments", ["arm", "segment", "users", "difference"], parts)) : [],
    shadows.length ? [node("h3", {}, "Shadow lists compared with shown ones"), table("shadow lists", ["arm", "pairs", "overlap", "rank correlation", "slower by ms"], shadows)] : [],
    node("p", {class: "note"}, notes.filter(Boolean).join(" ")));
}

function rollout(results, journal) {
  const mine = journal.filter(entry => entry.kind === "rollout" && entry.subject === results.experiment);
  const begun = mine.findIndex(entry => entry.data.event === "started");
  if (begun < 0) return [];
  const {plan} = mine[begun].data, steps = mine.slice(0, begun).reverse(), last = steps[steps.length - 1];
  const share = last ? last.data.to : plan.stages[0], back = last && last.data.event === "roll back", done = last && last.data.event === "done";
  const tone = stage => back ? (stage <= last.data.from ? "back" : "") : stage < share || done ? "past" : stage === share ? "here" : "";
  const state = back ? ["rolled back", "bad"] : done ? ["done", "good"] : results.owner === "rollout" ? ["under way", "wait"] : ["ended by hand", "soft"];
  return node("section", {}, node("h2", {}, `Roll-out of ${plan.candidate} `, node("span", {class: `pill ${state[1]}`}, state[0])),
    node("ol", {class: "stages"}, plan.stages.map(stage => node("li", {class: tone(stage), "aria-current": stage === share ? "step" : null}, stage ? percent(stage) : "shadow"))),
    node("p", {class: "soft"}, last ? `${clock(last.at)}: ${last.data.reason}` : `started ${clock(mine[begun].at)}; each stage holds ${number(plan.hold_seconds, 0)} s with ${number(plan.minimum_exposures, 0)} lists or more`));
}

function drift(watches, arms) {
  const releases = Object.values(watches).flatMap(watch => watch.releases);
  const mine = release => arms.filter(([, folder]) => folder === release.folder).map(([arm]) => arm).join(", ") || release.release_id.slice(0, 10);
  const state = signal => signal.drifted ? ["drifted", "bad"] : signal.windows_over || signal.threshold > 0 && signal.distance > signal.threshold ? ["over its threshold", "wait"] : signal.threshold > 0 ? ["quiet", "good"] : ["no reference", "soft"];
  const rows = releases.flatMap(release => (release.signals || []).map(signal => [mine(release), node("td", {class: "left"}, signal.signal.replace(/_/g, " ")),
    node("td", {class: "left"}, node("span", {class: `pill ${state(signal)[1]}`}, state(signal)[0])), fixed(signal.distance, 3), fixed(signal.threshold, 3), percent(signal.false_alarm_rate), signal.since ? clock(signal.since) : NONE,
    node("td", {class: "words"}, signal.largest.map(bin => `${bin.where}: ${percent(bin.expected)} → ${percent(bin.seen)}`).join("; ") || NONE)]));
  const advice = releases.filter(release => release.advice).map(release => node("p", {class: "bad"}, `${mine(release)}: ${release.advice}`));
  const read = releases.map(release => `${mine(release)}: ${release.note || `${number(release.events, 0)} ratings`}`).join("; ");
  const power = releases.filter(release => !release.note).flatMap(release => [...Object.values(release.power).filter(Boolean).map(sees => [mine(release), node("td", {class: "words"}, sees.change), number(sees.within, 0)]),
    ...release.not_watched.map(words => [mine(release), node("td", {class: "words"}, words), NONE])]);
  return node("section", {}, node("h2", {}, "Drift ", node("small", {}, "against each release's own reference")), advice,
    rows.length ? table("drift signals", ["release", "signal", "state", "distance", "threshold", "false alarms", "since", "largest changes"], rows) : node("p", {class: "soft"}, "No full window of ratings yet."),
    power.length ? details("drift power", "Ratings until a change is detected", table("power", ["release", "change", "ratings"], power)) : [],
    read ? node("p", {class: "note"}, `${read}. A signal has drifted when it exceeds its threshold in two consecutive windows.`) : []);
}

function loop(entries) {
  // One row per cycle: its trigger, the result of each phase, and how it ended. Entries are newest first.
  if (!entries.length) return [];
  const cycles = new Map(), last = entries[0].data, moves = entries.map(entry => ({at: entry.at, ...entry.data})).filter(row => row.moves).reverse();
  for (const row of moves) cycles.set(row.cycle, [...(cycles.get(row.cycle) || []), row]);
  const said = (rows, phase) => { const row = rows.filter(one => one.phase === phase).pop(); return node("td", {class: "words"}, row ? row.reason : NONE); };
  const rows = [...cycles].reverse().slice(0, 12).map(([cycle, steps]) => {
    const end = steps[steps.length - 1], over = end.next === "idle", begun = steps[0];
    const tone = !over ? "wait" : end.phase === "promote" && !end.evidence.changed ? "good" : "soft";
    const searched = steps.filter(row => row.phase === "search" && row.evidence.usd !== undefined), usd = searched.reduce((sum, row) => sum + row.evidence.usd, 0);
    const gate = steps.find(row => row.phase === "gate"), won = gate && !missing(gate.evidence.difference) ? signed(gate.evidence.difference, 4) : NONE;
    return [node("td", {class: "left"}, `${cycle}`, node("small", {}, day(begun.at))), node("td", {class: "words"}, begun.reason), searched.length ? `$${fixed(usd, 2)}` : NONE, won,
      said(steps, "compare"), node("td", {class: "left"}, node("span", {class: `pill ${tone}`}, over ? (tone === "good" ? "promoted" : "ended") : end.next)), node("td", {class: "words"}, over ? end.reason : `since ${clock(end.at)}`)];
  });
  const wait = last.kind === "fault" ? node("p", {class: "bad"}, `${last.phase} waits: ${last.reason}`) : last.next === "idle" && !last.moves ? node("p", {class: "soft"}, `No active cycle: ${last.reason}.`) : [];
  return node("section", {}, node("h2", {}, "Loop ", node("small", {}, last.folder)), wait,
    rows.length ? table("cycles of the loop", ["cycle", "began because", "search", "gate, rmse", "comparison", "state", "outcome"], rows) : []);
}

const brief = value => value === null || typeof value !== "object" ? `${value === null ? "the deployment's" : value}` : JSON.stringify(value);
const changes = changed => Object.entries(changed || {}).map(([name, pair]) => `; ${name === "overrides" ? "testers" : name} ${pair.map(brief).join(" → ")}`).join("");
const shares = arms => arms ? Object.entries(arms).map(([arm, share]) => `${arm} ${percent(share)}`).join(", ") : "nothing";

function words({kind, data, subject}) {
  if (kind === "rollout" && data.event === "started") return `${subject}: started ${data.plan.candidate} (${data.plan.release})`;
  if (kind === "rollout") return `${subject}: ${data.event} ${data.candidate} ${percent(data.from)} → ${percent(data.to)}, ${data.reason}`;
  if (kind === "audit") return `${subject}: ${data.actor} made revision ${data.revision}${data.reason ? `, ${data.reason}` : ""}: ${shares(data.before)} → ${shares(data.after)}${changes(data.changed)}`;
  if (kind === "catalogue") return `${data.actor} changed ${subject === "many" ? `${number(data.items, 0)} items` : `item ${subject}`}${data.reason ? `, ${data.reason}` : ""}`;
  if (kind === "rules") return `${data.actor} made revision ${data.revision} of the rules${data.reason ? `, ${data.reason}` : ""}`;
  if (kind === "drift") return `${data.signal.replace(/_/g, " ")} at ${number(data.distance)} is over ${number(data.threshold)}`;
  if (kind === "loop") return `cycle ${data.cycle}, ${data.phase}${data.moves ? ` → ${data.next}` : " waits"}: ${data.reason}`;
  if (kind === "gap") return `${number(data.lost, 0)} exposures could not be stored`;
  if (kind === "erasure") return `one user's events were erased (${Object.values(data.deleted).reduce((sum, count) => sum + count, 0)} rows)`;
  if (kind === "retention") return `events older than ${data.days} days were deleted (${Object.values(data.deleted).reduce((sum, count) => sum + count, 0)} rows)`;
  return `${subject}: ${data.command || JSON.stringify(data)}`;
}

function draw(state) {
  const arms = state.experiments.flatMap(row => Object.entries(row.releases));
  put("experiments", state.experiments.map(experiment));
  put("rollouts", state.experiments.map(row => rollout(row, state.journal)));
  put("drift", drift(state.drift, arms));
  put("loop", loop(state.loop));
  put("log", node("section", {}, node("h2", {}, "Journal"), state.journal.length ? node("ol", {class: "log", tabindex: 0, "aria-label": "journal, newest first"},
    state.journal.map(entry => node("li", {}, node("span", {class: "soft", title: day(entry.at)}, clock(entry.at)), node("span", {class: "soft"}, entry.kind), node("span", {}, words(entry))))) : node("p", {class: "soft"}, "Nothing yet.")));
  document.getElementById("when").textContent = `as of ${clock(state.at)}`;
}

async function ask(path) {
  const key = sessionStorage.getItem("key");  // shared with the page of recommendations
  const answer = await fetch(path, {headers: key ? {"X-API-Key": key} : {}});
  document.getElementById("key-form").hidden = answer.status !== 401;
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.error && said.error.message ? said.error.message : `the service answered ${answer.status}`);
}

async function refresh() {
  const wrong = document.getElementById("offline"), failures = [];
  if (!document.hidden) {
    await ask("/metrics").then(answer => answer.text()).then(live).catch(error => failures.push(error.message));
    await ask("/v1/operations").then(answer => answer.json()).then(draw).catch(error => failures.push(error.message));
    wrong.hidden = !failures.length;
    wrong.textContent = failures.length ? `These figures may be out of date: ${[...new Set(failures)].join("; ")}.` : "";
  }
}

async function follow() {
  await refresh();
  setTimeout(follow, EVERY);
}
document.getElementById("key-form").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem("key", document.getElementById("key").value);
  refresh();
});
follow();
