"use strict";
// What htmx does not do: previews, progress events, the comparison, the CSRF header, and problems in words.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const csrf = $("meta[name=csrf]").content;

// Originals by job, as addresses of this browser's own memory. They never come from the server.
const originals = new Map();
let preview = null;

// Problems

function tell(text) {
  const alert = $("#alert");
  alert.textContent = text;
  alert.hidden = !text;
  if (text) alert.scrollIntoView({ block: "nearest" });
}

function problemOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return "Something went wrong; try again.";
  }
}

document.addEventListener("htmx:responseError", ({ detail }) => {
  if (detail.xhr.status === 401 && JSON.parse(detail.xhr.responseText).code === "unauthenticated") {
    location.assign("/sign-in");
    return;
  }
  tell(problemOf(detail.xhr.responseText));
});
document.addEventListener("htmx:sendError", () => tell("The service cannot be reached; this page tries again."));
document.addEventListener("htmx:afterRequest", ({ detail }) => detail.successful && tell(""));

// Requests

const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

document.addEventListener("htmx:configRequest", ({ detail }) => {
  detail.headers["X-CSRF-Token"] = csrf;
  if (detail.elt.matches("[data-once]")) {
    // Sent again unchanged, because the answer was lost, nothing is done twice.
    detail.elt.dataset.key ||= random();
    detail.headers["Idempotency-Key"] = detail.elt.dataset.key;
  }
  if (detail.parameters.token) detail.headers.Authorization = `Bearer ${detail.parameters.token}`;
  delete detail.parameters.token;
});
document.addEventListener("input", ({ target }) => {
  delete target.form?.dataset.key;
  tell("");
});
document.addEventListener("htmx:afterRequest", ({ detail }) => detail.successful && delete detail.elt.dataset.key);

// The photo

function show(input) {
  const drop = input.closest(".drop");
  const [file] = input.files;
  const tooLarge = file && file.size > Number(input.dataset.max);
  input.setCustomValidity(tooLarge ? "This file is larger than the service accepts." : "");
  if (tooLarge) input.reportValidity();
  preview = file ? URL.createObjectURL(file) : null;
  const image = $("img", drop);
  image.hidden = !file;
  if (file) image.src = preview;
  drop.classList.toggle("filled", Boolean(file));
  $(".chosen", drop).textContent = file ? file.name : "";
}

function drag(event) {
  const drop = event.target.closest?.(".drop");
  if (event.type !== "drop" && !drop) return;
  event.preventDefault(); // also elsewhere: a photo that misses must not replace the page
  $$(".drop").forEach((each) => each.classList.toggle("over", each === drop && event.type === "dragover"));
  if (event.type !== "drop" || !drop || !event.dataTransfer.files.length) return;
  const input = $("input", drop);
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, drag);

// The password: what counts is its length, unless it repeats itself; the vault says what is the least.

function strength() {
  const password = $("#password");
  if (!password) return;
  const least = Number($("[name=custody]:checked").dataset.min);
  const length = [...password.value].length;
  $("#password-field").hidden = least === 0;
  password.disabled = least === 0;
  password.minLength = least;
  const hint = $("#strength");
  const worth = Math.min(length, 2 * new Set(password.value).size);
  const words = length < least ? ["weak", `${least} characters or more`] : worth < 16 ? ["fair", "Fair: longer is better"] : ["strong", "Strong"];
  [hint.dataset.level, hint.textContent] = length ? words : ["", ""];
}
strength();

// Progress

function follow(section) {
  section.scrollIntoView({ block: "nearest" });
  const source = new EventSource(section.dataset.events);
  let told = "";
  function update({ data }) {
    const job = JSON.parse(data);
    $("progress", section).value = job.progress;
    $(".percent", section).textContent = `${Math.round(job.progress * 100)} %`;
    // A step is told once: screen readers would read every per cent.
    if (job.step === told) return;
    told = job.step;
    $(".step", section).textContent = $$("dt", section).find((dt) => dt.textContent === told)?.nextElementSibling.textContent ?? told;
  }
  const then = () => {
    source.close();
    htmx.ajax("GET", section.dataset.then, { target: section, swap: "outerHTML" });
  };
  source.addEventListener("job", update);
  source.addEventListener("end", (event) => {
    update(event);
    then();
  });
  source.addEventListener("error", () => {
    if (!section.isConnected) source.close();
    // A lost connection the browser resumes by itself; a refused one it gives up: ask for the job, and so on.
    else if (source.readyState === EventSource.CLOSED) setTimeout(() => section.isConnected && then(), 3000);
  });
}

// The comparison

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const address = detail.xhr.getResponseHeader("HX-Push-Url");
  if (address && preview && detail.requestConfig.elt.id === "protect") originals.set(address.split("/").pop(), preview);
});

function compare(section) {
  const original = originals.get(section.dataset.job);
  $$(".compare", section).forEach((figure) => {
    $("figcaption", figure).hidden = !original;
    if (!original) return;
    $(".before img", figure).src = original;
    $$("[hidden]", figure).forEach((element) => (element.hidden = false));
    cut($("input", figure));
  });
}

function cut(range) {
  const frame = range.closest(".frame");
  frame.style.setProperty("--cut", `${range.value}%`);
  // A picture of which nothing is seen needs no name, and the handle would lie on it.
  $(".tag.left", frame).hidden = range.value < 20;
  $(".tag.right", frame).hidden = range.value > 80;
  range.setAttribute("aria-valuetext", `${range.value} % original`);
}

function zoom(button) {
  const frame = $(".frame", button.closest("[data-variant]"));
  const { naturalWidth, naturalHeight } = $(".after", frame);
  const [x, y, width, height] = frame.dataset.box.split(" ").map(Number);
  const scale = Math.max(1.01, 0.7 * Math.min(naturalWidth / width, naturalHeight / height));
  // The point that stays where it is while the face comes to the middle, without a border coming in.
  const fixed = (middle) => `${100 * Math.min(1, Math.max(0, (middle * scale - 0.5) / (scale - 1)))}%`;
  frame.style.setProperty("--zoom", scale);
  frame.style.setProperty("--x", fixed((x + width / 2) / naturalWidth));
  frame.style.setProperty("--y", fixed((y + height / 2) / naturalHeight));
  button.setAttribute("aria-pressed", frame.classList.toggle("zoomed"));
}

// The original, handed out once

async function fetchOriginal(button) {
  button.disabled = true;
  const answer = await fetch(button.dataset.original, { method: "POST", headers: { "X-CSRF-Token": csrf } }).catch(() => null);
  if (!answer?.ok) {
    button.disabled = false;
    tell(answer ? problemOf(await answer.text()) : "The service cannot be reached; try again.");
    return;
  }
  const url = URL.createObjectURL(await answer.blob());
  const figure = $(".restored", button.closest("section"));
  $("img", figure).src = url;
  figure.hidden = false;
  // Saved again from memory as often as wanted.
  const link = Object.assign(document.createElement("a"), { href: url, download: button.dataset.name, className: "button", textContent: "Save it again" });
  button.replaceWith(link);
  link.click();
  link.focus();
}

// Wiring

function wire(root) {
  $$("[data-job]", root).forEach((section) => {
    if (section.dataset.events && !section.dataset.followed) {
      section.dataset.followed = "yes";
      follow(section);
    }
    if ($(".compare", section)) compare(section);
  });
}
document.addEventListener("htmx:load", ({ detail }) => wire(detail.elt.parentElement ?? document));

document.addEventListener("input", ({ target }) => {
  if (target.matches(".compare input")) cut(target);
  if (target.matches("#password, [name=custody]")) strength();
});
document.addEventListener("change", ({ target }) => {
  if (target.matches(".drop input")) show(target);
  if (target.matches(".tabs input")) {
    $$("[data-variant]", target.closest("section")).forEach((each) => (each.hidden = each.dataset.variant !== target.value));
  }
});
document.addEventListener("click", ({ target }) => {
  if (target.matches("[data-original]")) fetchOriginal(target);
  if (target.matches("[data-zoom]")) zoom(target);
  if (target.matches("#theme")) {
    const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
    localStorage.setItem("theme", (document.documentElement.dataset.theme = dark ? "light" : "dark"));
  }
});
