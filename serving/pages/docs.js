"use strict";
// The OpenAPI description as a page: routes, parameters, examples as curl, answers. No outside scripts.

const put = (tag, text, kind) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};

function limits(schema) {
  const one = schema.anyOf ? schema.anyOf.find((part) => part.type !== "null") || {} : schema;
  const said = [one.type || (one.enum ? one.enum.join(" | ") : "")];
  if (one.minimum !== undefined || one.maximum !== undefined) said.push(`${one.minimum ?? ""}..${one.maximum ?? ""}`);
  if (schema.default !== undefined && schema.default !== "") said.push(`default ${JSON.stringify(schema.default)}`);
  return said.filter(Boolean).join(", ");
}

function curl(path, method, route, description) {
  const where = path.replace("{user_id}", "1").replace("{item_id}", "1").replace("{name}", "main");
  const body = route.requestBody && route.requestBody.content["application/json"];
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${location.origin}${where}'`];
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
    for (const one of route.parameters) {
      list.append(put("dt", one.name), put("dd", [limits(one.schema), one.description].filter(Boolean).join(": ")));
    }
    box.append(list);
  }
  const answers = Object.entries(route.responses).map(([status, one]) => `${status} ${one.description}`);
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
