// Shows openapi.json, and lets people try each operation. Everything goes in as text: nothing of it is run.
"use strict";

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function pretty(value) {
  return element("pre", JSON.stringify(value, null, 2));
}

function shapeOf(content) {
  const [type, media] = Object.entries(content || {})[0] || [];
  if (!type) return "";
  const reference = media.schema && media.schema.$ref;
  return `${type}${reference ? ` (${reference.split("/").pop()})` : ""}`;
}

function table(head, rows) {
  const body = rows.map((row) => element("tr", "", ...row.map((cell) => element("td", String(cell ?? "")))));
  return element("table", "", element("tr", "", ...head.map((cell) => element("th", cell))), ...body);
}

function bounds(schema) {
  const { type, format, minimum, maximum, default: otherwise } = schema;
  const range = format === "int64" || minimum === undefined ? "" : `, ${minimum} to ${maximum}`;
  return `${type}${format ? ` ${format}` : ""}${range}${otherwise === undefined ? "" : `, default ${otherwise}`}`;
}

function exampleBody(operation, page) {
  const schema = operation.requestBody && operation.requestBody.content["application/json"].schema;
  if (!schema) return undefined;
  const shape = page.components.schemas[schema.$ref.split("/").pop()];
  return JSON.stringify((shape.examples || [{}])[0], null, 2);
}

function trying(method, path, operation, page) {
  const form = element("form");
  const inputs = (operation.parameters || []).map((parameter) => {
    const input = element("input");
    input.value = (parameter.examples && parameter.examples[0]) ?? (parameter.schema.examples || [""])[0];
    form.append(element("label", parameter.name, input));
    return { parameter, input };
  });
  const example = exampleBody(operation, page);
  const body = element("textarea");
  if (example !== undefined) {
    body.value = example;
    body.rows = example.split("\n").length;
    form.append(element("label", "body", body));
  }
  const answer = element("pre");
  answer.hidden = true;
  form.append(element("button", "Try it"), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    let address = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") address = address.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(parameter.name, input.value);
    }
    const headers = {};
    const key = document.getElementById("key").value.trim();
    if (key && operation.security) headers.Authorization = `Bearer ${key}`;
    if (example !== undefined) headers["Content-Type"] = "application/json";
    answer.hidden = false;
    try {
      const sent = { method: method.toUpperCase(), headers, body: example === undefined ? undefined : body.value };
      const got = await fetch(address + (query.size ? `?${query}` : ""), sent);
      const text = await got.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it is */ }
      answer.textContent = `${got.status} ${got.statusText}\n\n${shown}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  return form;
}

function show(method, path, operation, page) {
  const parameters = (operation.parameters || []).map((one) => [one.name, one.in, bounds(one.schema), one.description]);
  const responses = Object.entries(operation.responses).map(([status, one]) => [
    status, one.description, shapeOf(one.content), Object.keys(one.headers || {}).join(", "),
  ]);
  return element(
    "details", "",
    element("summary", "", element("b", method.toUpperCase()), element("code", path), ` ${operation.summary}`),
    element("p", operation.description),
    element("p", operation.security ? `Needs the scope ${operation["x-scope"]}.` : "Needs no key."),
    ...(parameters.length ? [table(["parameter", "in", "type", ""], parameters)] : []),
    table(["answer", "", "shape", "headers"], responses),
    trying(method, path, operation, page),
  );
}

async function start() {
  const page = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${page.info.title} ${page.info.version}`;
  document.getElementById("about").textContent = page.info.description.replaceAll("`", "");
  const operations = Object.entries(page.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => show(method, path, operation, page)));
  document.getElementById("operations").replaceChildren(...operations);
  const shapes = Object.entries(page.components.schemas).map(([name, schema]) =>
    element("details", "", element("summary", name), pretty(schema)));
  document.getElementById("shapes").replaceChildren(...shapes);
}

start().catch((error) => { document.getElementById("operations").textContent = String(error); });
