//! The page at `/docs/`: the OpenAPI document as HTML, for people.
//!
//! It is made from the document alone, so it says what `/openapi.json` says. It has no scripts, and
//! the status page's style.

use serde_json::Value;

/// What [`type_of`] adds to a type, if the schema has it.
const LIMITS: [&str; 5] = ["format", "minimum", "maximum", "minLength", "pattern"];

/// The page of a document.
pub(super) fn page(document: &Value) -> String {
    let info = &document["info"];
    let (title, version) = (escape(&info["title"]), escape(&info["version"]));
    let description = prose(&info["description"]);
    let operations: String = entries(&document["paths"])
        .flat_map(|(path, methods)| {
            entries(methods).map(move |(method, it)| operation(&method.to_uppercase(), path, it))
        })
        .collect();
    let schemas: String = entries(&document["components"]["schemas"])
        .map(|(name, it)| schema(name, it))
        .collect();
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: API</title>
<link rel="icon" href="../assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="../assets/style.css">
<link rel="stylesheet" href="../assets/docs.css">
</head>
<body>
<header class="top"><h1>{title} {version}: API</h1></header>
<main>
<p>{description} For programs, the same is in <a href="../openapi.json">openapi.json</a>.</p>
<h2>Requests</h2>
{operations}<h2>Schemas</h2>
{schemas}</main>
</body>
</html>
"#
    )
}

fn operation(method: &str, path: &str, it: &Value) -> String {
    let parameters = list(&it["parameters"]).iter().map(|parameter| {
        let place = escape(&parameter["in"]);
        let is_required = parameter["required"] == true;
        let required = if is_required { ", required" } else { "" };
        [
            code(&escape(&parameter["name"])),
            place + required,
            type_of(&parameter["schema"]),
            description(parameter),
        ]
    });
    let responses = entries(&it["responses"]).map(|(status, response)| {
        let content = entries(&response["content"]).map(|(kind, content)| {
            let (kind, body) = (code(kind), type_of(&content["schema"]));
            format!("{kind}: {body}")
        });
        let content: Vec<String> = content.collect();
        [code(status), description(response), content.join("<br>")]
    });
    let parameters = table(["Parameter", "In", "Type", "Meaning"], parameters);
    let responses = table(["Answer", "Meaning", "Body"], responses);
    let (path, summary, description) = (code(path), prose(&it["summary"]), description(it));
    format!(
        "<details class=\"card cluster\"><summary><h3>{method} {path}</h3> {summary}</summary>\n\
         <p>{description}</p>\n{parameters}{responses}</details>\n"
    )
}

fn schema(name: &str, it: &Value) -> String {
    let parts = list(&it["allOf"]).iter().chain([it]);
    let (named, written): (Vec<_>, Vec<_>) = parts.partition(|part| part["$ref"].is_string());
    let rows = written.into_iter().flat_map(|part| {
        entries(&part["properties"]).map(move |(key, property)| {
            let is_required = list(&part["required"]).iter().any(|it| it == key);
            let optional = if is_required { "" } else { ", optional" };
            [
                code(key) + optional,
                type_of(property),
                description(property),
            ]
        })
    });
    let fields = table(["Field", "Type", "Meaning"], rows);
    let variants = list(&it["oneOf"]).iter();
    let variants = variants.map(|it| format!("<li>{}: {}</li>", type_of(it), description(it)));
    let variants: String = variants.collect();
    let what = if !variants.is_empty() {
        format!("<p>One of:</p><ul>{variants}</ul>\n")
    } else if !named.is_empty() {
        let named: Vec<String> = named.into_iter().map(type_of).collect();
        format!("<p>What these have: {}.</p>\n", named.join(", "))
    } else if fields.is_empty() {
        format!("<p>{}</p>\n", type_of(it))
    } else {
        String::new()
    };
    let description = description(it);
    format!(
        "<section class=\"card cluster\"><h3 id=\"{name}\">{name}</h3>\n\
         <p>{description}</p>\n{what}{fields}</section>\n"
    )
}

/// What a value of this schema is, on one line.
fn type_of(schema: &Value) -> String {
    if let Some(path) = schema["$ref"].as_str() {
        let name = path.rsplit('/').next().unwrap_or_default();
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for (key, word) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let [_, ..] = list(&schema[key]) {
            let parts: Vec<String> = list(&schema[key]).iter().map(type_of).collect();
            return parts.join(word);
        }
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.as_slice(),
        kind => std::slice::from_ref(kind),
    };
    let kinds = kinds.iter().map(|kind| match kind.as_str() {
        Some("array") => format!("list of {}", type_of(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_of(&schema["additionalProperties"]))
        }
        Some(kind) => kind.to_owned(),
        None => "anything".to_owned(),
    });
    let mut text = kinds.collect::<Vec<_>>().join(" or ");
    for limit in LIMITS {
        if !schema[limit].is_null() {
            let value = code(&escape(&schema[limit]));
            text.push_str(&format!(", {limit} {value}"));
        }
    }
    let values: Vec<String> = list(&schema["enum"])
        .iter()
        .map(|value| code(&escape(value)))
        .collect();
    if !values.is_empty() {
        text.push_str(&format!(": {}", values.join(", ")));
    }
    text
}

/// A table, unless it has no rows.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows = rows.map(|row| format!("<tr><td>{}</td></tr>\n", row.join("</td><td>")));
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let head = head
        .map(|it| format!("<th scope=\"col\">{it}</th>"))
        .concat();
    format!("<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>\n")
}

fn description(of: &Value) -> String {
    prose(&of["description"])
}

/// A text of the document: what is between backticks is code.
fn prose(text: &Value) -> String {
    let text = escape(text);
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| match at % 2 {
        0 => part.to_owned(),
        _ => code(part),
    });
    parts.collect()
}

fn code(html: &str) -> String {
    format!("<code>{html}</code>")
}

/// A value as text that no browser takes for markup.
fn escape(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = value.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::OpenApi as _;

    use super::*;
    use crate::server::routes::v1::openapi::Document;

    #[test]
    fn everything_that_the_document_names_is_on_the_page_and_each_link_leads_somewhere() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let page = page(&document);
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods) {
                let head = format!("<h3>{} <code>{path}</code></h3>", method.to_uppercase());
                let (_, rest) = page.split_once(&head).unwrap();
                let (shown, _) = rest.split_once("</details>").unwrap();
                for parameter in list(&operation["parameters"]) {
                    let name = code(parameter["name"].as_str().unwrap());
                    assert!(shown.contains(&name), "{method} {path} {name}");
                }
                for (status, _) in entries(&operation["responses"]) {
                    assert!(shown.contains(&code(status)), "{method} {path} {status}");
                }
            }
        }
        for (name, schema) in entries(&document["components"]["schemas"]) {
            let head = format!("<h3 id=\"{name}\">");
            let (_, rest) = page.split_once(&head).unwrap();
            let (shown, _) = rest.split_once("</section>").unwrap();
            for part in list(&schema["allOf"]).iter().chain([schema]) {
                for (key, _) in entries(&part["properties"]) {
                    assert!(shown.contains(&code(key)), "{name} {key}");
                }
            }
        }
        let links = page.split("href=\"#").skip(1);
        let links: Vec<&str> = links.map(|it| it.split('"').next().unwrap()).collect();
        assert!(links.len() > 50, "{links:?}");
        for link in links {
            assert!(page.contains(&format!(" id=\"{link}\"")), "{link}");
        }
    }

    #[test]
    fn texts_are_no_markup() {
        let document = json!({
            "info": {"title": "<b>", "version": "\"1\"", "description": "a `<i>` & b"},
            "paths": {"/x": {"get": {
                "summary": "<script>",
                "parameters": [{
                    "name": "<n>", "in": "<in>", "description": "<d>",
                    "schema": {"type": "string", "pattern": "<q>", "enum": ["<e>"]},
                }],
                "responses": {"200": {"description": "<r>"}},
            }}},
        });
        let page = page(&document);
        for written in [
            "<b>", "<i>", "<script>", "<n>", "<in>", "<d>", "<q>", "<e>", "<r>",
        ] {
            assert!(!page.contains(written), "{written}");
        }
        assert!(page.contains("a <code>&lt;i&gt;</code> &amp; b"), "{page}");
    }
}
