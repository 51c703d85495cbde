"use strict";
// Live figures from /metrics: the difference of two readings at most a minute apart.
const LISTS = /^\/v1\/(users\/[^/]+\/)?recommendations$/, MINUTE = 60, PLACES = 150;
const readings = [], curves = {rate: [], p99: []};

function counted(text) {
  const now = {at: Date.now() / 1000, answers: 0, errors: 0, requests: 0, fallbacks: 0, buckets: new Map(), replicas: 0, store: null, lost: 0};
  for (const line of text.split("\n")) {
    const found = /^(recsys_\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!found) continue;
    const [, name, labels = "", value] = found, amount = Number(value), label = key => (new RegExp(`${key}="([^"]*)"`).exec(labels) || [])[1];
    if (name === "recsys_requests_total") { now.requests += amount; if (label("status").startsWith("5")) now.errors += amount; }
    else if (name === "recsys_request_seconds_bucket" && LISTS.test(label("route"))) now.buckets.set(Number(label("le").replace("+Inf", "Infinity")), (now.buckets.get(Number(label("le").replace("+Inf", "Infinity"))) || 0) + amount);
    else if (name === "recsys_request_seconds_count" && LISTS.test(label("route"))) now.answers += amount;
    else if (name === "recsys_fallbacks_total") now.fallbacks += amount;
    else if (name === "recsys_replicas") now.replicas = amount;
    else if (name === "recsys_event_store_available") now.store = amount;
    else if (name === "recsys_exposures_lost_total") now.lost += amount;
  }
  return now;
}

function quantile(before, now, share) {
  // Milliseconds, linear inside a bucket, as Prometheus has it.
  const steps = [...now.buckets].map(([edge, count]) => [edge, count - (before.buckets.get(edge) || 0)]).sort((a, b) => a[0] - b[0]);
  const total = steps.length ? steps[steps.length - 1][1] : 0;
  if (total <= 0) return null;
  let low = 0, under = 0;
  for (const [edge, count] of steps) {
    if (count >= share * total) return 1000 * (edge === Infinity ? low : low + (edge - low) * (share * total - under) / Math.max(1e-9, count - under));
    [low, under] = [edge, count];
  }
  return null;
}

function live(text) {
  const now = counted(text), newest = readings[readings.length - 1];
  if (newest && now.requests < newest.requests) readings.length = 0;  // the service was restarted
  readings.push(now);
  while (readings.length > 2 && now.at - readings[0].at > MINUTE) readings.shift();
  const before = readings[0], last = readings[readings.length - 2] || now, seconds = Math.max(0.1, now.at - last.at);
  const rate = last === now ? null : (now.answers - last.answers) / seconds, p99 = quantile(before, now, 0.99);
  curves.rate.push(rate); curves.p99.push(p99);
  for (const line of Object.values(curves)) if (line.length > PLACES) line.shift();
  const errors = now.requests - before.requests ? (now.errors - before.errors) / (now.requests - before.requests) : null;
  const fallbacks = now.answers - before.answers ? (now.fallbacks - before.fallbacks) / (now.answers - before.answers) : null;
  put("now",
    tile("lists", missing(rate) ? NONE : number(rate, rate < 10 ? 1 : 0), "a second", curve("lists a second", curves.rate, PLACES)),
    tile("p99, last minute", number(p99, 1), "ms of 50", curve("p99 in milliseconds, the target is 50", curves.p99, PLACES, 50), p99 > 50 ? "bad" : ""),
    tile("p50, last minute", number(quantile(before, now, 0.5), 1), "ms"),
    tile("errors, last minute", percent(errors), "of requests", null, errors > 0.001 ? "bad" : ""),
    tile("fallbacks, last minute", percent(fallbacks), "of lists", null, fallbacks > 0.05 ? "bad" : ""),
    tile("event store", now.store === null ? NONE : now.store ? "available" : "unavailable", now.lost ? `${number(now.lost, 0)} exposures lost` : `${number(now.replicas, 0)} replica${now.replicas === 1 ? "" : "s"}`, null, now.store === 0 || now.lost ? "bad" : ""));
}
