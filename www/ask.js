// Ask the server for every line of the table and show what it answered.
// Without scripts the page says the same; only this column is missing.
"use strict";

const table = document.querySelector("#requests");

async function ask(row) {
  const [, , expected] = row.cells;
  const answer = row.insertCell();
  answer.textContent = "…";
  try {
    const response = await fetch(row.querySelector("a").href, { method: "HEAD", cache: "no-store" });
    const type = response.ok ? " " + response.headers.get("Content-Type") : "";
    answer.textContent = response.status + type + (response.redirected ? " (redirected)" : "");
    answer.className = answer.textContent.startsWith(expected.textContent) ? "right" : "wrong";
  } catch {
    answer.textContent = "no answer";
    answer.className = "wrong";
  }
}

const heading = document.createElement("th");
heading.scope = "col";
heading.textContent = "Answered";
table.tHead.rows[0].append(heading);
document.querySelector(".with-script").hidden = false;
for (const row of table.tBodies[0].rows) ask(row);
