// Shows openapi.json, and sends requests to each operation. All content is inserted as text, so it cannot run as code.
"use strict";

function element(name, text, ...children) {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function plain(text) {
  return String(text).replaceAll("`", "");
}

function pretty(value) {
  return element("pre", JSON.stringify(value, null, 2));
}

function schemaName(content) {
  const [type, media] = Object.entries(content || {})[0] || [];
  if (!type) return "";
  const reference = media.schema && media.schema.$ref;
  return `${type}${reference ? ` (${reference.split("/").pop()})` : ""}`;
}

function table(head, rows) {
  const body = rows.map((row) => element("tr", "", ...row.map((cell) => element("td", plain(cell ?? "")))));
  return element("table", "", element("tr", "", ...head.map((cell) => element("th", cell))), ...body);
}

function bounds(schema) {
  const { type, format, minimum, maximum, default: fallback } = schema;
  const range = format === "int64" || minimum === undefined ? "" : `, ${minimum} to ${maximum}`;
  return `${type}${format ? ` ${format}` : ""}${range}${fallback === undefined ? "" : `, default ${fallback}`}`;
}

function exampleBody(operation, page) {
  const schema = operation.requestBody && operation.requestBody.content["application/json"].schema;
  if (!schema) return undefined;
  const model = page.components.schemas[schema.$ref.split("/").pop()];
  return JSON.stringify((model.examples || [{}])[0], null, 2);
}

function requestForm(method, path, operation, page) {
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
  const output = element("pre");
  output.hidden = true;
  form.append(element("button", "Send request"), output);
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
    output.hidden = false;
    try {
      const options = { method: method.toUpperCase(), headers, body: example === undefined ? undefined : body.value };
      const response = await fetch(address + (query.size ? `?${query}` : ""), options);
      const text = await response.text();
      let body = text;
      try { body = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: show the text */ }
      output.textContent = `${response.status} ${response.statusText}\n\n${body}`;
    } catch (error) {
      output.textContent = String(error);
    }
  });
  return form;
}

function show(method, path, operation, page) {
  const parameters = (operation.parameters || []).map((parameter) => [
    parameter.name, parameter.in, bounds(parameter.schema), parameter.description,
  ]);
  const responses = Object.entries(operation.responses).map(([status, response]) => [
    status, response.description, schemaName(response.content), Object.keys(response.headers || {}).join(", "),
  ]);
  return element(
    "details", "",
    element("summary", "", element("b", method.toUpperCase()), element("code", path), ` ${operation.summary}`),
    element("p", plain(operation.description)),
    element("p", operation.security ? `Requires an API key with the scope ${operation["x-scope"]}.` : "Requires no API key."),
    ...(parameters.length ? [table(["parameter", "in", "type", "description"], parameters)] : []),
    table(["status", "meaning", "schema", "headers"], responses),
    requestForm(method, path, operation, page),
  );
}

async function start() {
  const page = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${page.info.title} ${page.info.version}`;
  document.getElementById("about").textContent = plain(page.info.description);
  const operations = Object.entries(page.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => show(method, path, operation, page)));
  document.getElementById("operations").replaceChildren(...operations);
  const schemas = Object.entries(page.components.schemas).map(([name, schema]) =>
    element("details", "", element("summary", name), pretty(schema)));
  document.getElementById("schemas").replaceChildren(...schemas);
}

start().catch((error) => { document.getElementById("operations").textContent = String(error); });
