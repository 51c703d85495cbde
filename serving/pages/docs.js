"use strict";
// The OpenAPI description as a page: routes, parameters, curl examples, answers. No third-party scripts.

const put = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};

function limits(schema) {
  const type = schema.anyOf ? schema.anyOf.find((part) => part.type !== "null") || {} : schema;
  const parts = [type.type || (type.enum ? type.enum.join(" | ") : "")];
  if (type.minimum !== undefined || type.maximum !== undefined) parts.push(`${type.minimum ?? ""}..${type.maximum ?? ""}`);
  if (schema.default !== undefined && schema.default !== "") parts.push(`default ${JSON.stringify(schema.default)}`);
  return parts.filter(Boolean).join(", ");
}

function curl(path, method, route, description) {
  const url = path.replace("{user_id}", "1").replace("{item_id}", "1").replace("{name}", "main");
  const body = route.requestBody && route.requestBody.content["application/json"];
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${location.origin}${url}'`];
  if (route.security) lines.push(`  -H "Authorization: Bearer $RECSYS_ADMIN_TOKEN"`);
  if (body) {
    const name = (body.schema.$ref || "").split("/").pop();
    const examples = (description.components.schemas[name] || {}).examples;
    lines.push(`  -H 'Content-Type: application/json'`, `  -d '${examples ? JSON.stringify(examples[0]) : "{...}"}'`);
  }
  return lines.join(" \\\n");
}

function described(path, method, route, description) {
  const box = put("details");
  const head = put("summary");
  head.append(put("span", method.toUpperCase(), "method"), put("code", path), put("span", ` ${route.summary || ""}`, "soft"));
  box.append(head, put("p", route.description || ""), put("pre", curl(path, method, route, description)));
  if (route.parameters && route.parameters.length) {
    const list = put("dl");
    for (const entry of route.parameters) {
      list.append(put("dt", entry.name), put("dd", [limits(entry.schema), entry.description].filter(Boolean).join(": ")));
    }
    box.append(list);
  }
  const answers = Object.entries(route.responses).map(([status, entry]) => `${status} ${entry.description}`);
  box.append(put("p", answers.join(" · "), "soft"));
  return box;
}

fetch("/openapi.json").then((answer) => answer.json()).then((description) => {
  document.getElementById("about").textContent = description.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const tag = (route.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(described(path, method, route, description));
    }
  }
  for (const [tag, routes] of groups) {
    const section = put("section");
    section.append(put("h2", tag), ...routes);
    document.getElementById("routes").append(section);
  }
}).catch((error) => { document.getElementById("about").textContent = error.message; });
