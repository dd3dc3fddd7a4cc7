// Small comforts; every page works without them.
"use strict";

for (const time of document.querySelectorAll("time")) {
  const moment = new Date(time.dateTime);
  time.title = time.dateTime;
  time.textContent = moment.toLocaleString("sv-SE", {
    dateStyle: "short",
    timeStyle: "medium",
  }) + "." + String(moment.getMilliseconds()).padStart(3, "0");
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

for (const button of document.querySelectorAll("[data-expand]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = button.textContent === "Expand all";
    for (const span of document.querySelectorAll("details.span")) span.open = open;
    button.textContent = open ? "Collapse all" : "Expand all";
  });
}
