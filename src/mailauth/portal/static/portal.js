// What the pages can do besides: copy, count down, ask before leaving, use a passkey, show local times.
// Everything but copying and passkeys works without this file. It loads nothing and keeps nothing.
"use strict";

const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

// ---- times, as this browser's zone has them

const spoken = document.documentElement.lang;
const moments = new Intl.DateTimeFormat(spoken === "en" ? "en-GB" : spoken, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
each("time[datetime]", (time) => {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.valueOf())) time.textContent = moments.format(at);
});
each("[data-zone]", (told) => {
  told.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone || told.textContent;
});

// ---- a button that copies what is shown, without the spaces that are there for reading

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

each("[data-copy]", (button) => {
  const source = document.getElementById(button.dataset.copy);
  const told = button.closest("div, section").querySelector("[data-told]");
  button.addEventListener("click", async () => {
    const done = await copied(source.dataset.plain);
    if (!done) getSelection().selectAllChildren(source);
    told.textContent = done ? button.dataset.copied : button.dataset.failed;
  });
});

// ---- a page that is shown once asks before it is left; coming back to it shows nothing old

each("[data-stay]", (page) => {
  const ask = (event) => event.preventDefault();
  addEventListener("beforeunload", ask);
  page.querySelectorAll("[data-done]").forEach((way) => way.addEventListener("click", () => removeEventListener("beforeunload", ask)));
  page.querySelectorAll("form[data-done]").forEach((form) => form.addEventListener("submit", () => removeEventListener("beforeunload", ask)));
});
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// ---- a button that has to wait

each("[data-wait]", (button) => {
  const told = document.getElementById(button.dataset.told);
  const until = performance.now() + Number(button.dataset.wait) * 1000;
  button.disabled = true;
  const tick = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    if (left <= 0) {
      button.disabled = false;
      told.hidden = true;
      return;
    }
    told.textContent = button.dataset.text.replace("{seconds}", left);
    told.hidden = false;
    setTimeout(tick, 500);
  };
  tick();
});

// ---- a form is sent once, however often its button is pressed

addEventListener("submit", (event) => {
  setTimeout(() => event.target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
});
addEventListener("pageshow", () => each("form button:not([data-wait])", (button) => (button.disabled = false)));

each("nav [aria-current]", (here) => here.scrollIntoView({ block: "nearest", inline: "center" }));
each("[data-print]", (button) => button.addEventListener("click", () => print()));
each("[data-needs-script]", (part) => (part.hidden = false));

// ---- a question that was put just now is answered without another click; but not again when somebody comes back to it

const isNew = /[?&]now=1\b/.test(location.search);
history.replaceState(null, "", location.href.replace(/([?&])now=1&?/, "$1")); // and no reload sends a form again

// ---- passkeys: Web Authentication Level 3, with bytes as base64url in JSON

const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const keys = (list) => (list || []).map((key) => ({ ...key, id: bytes(key.id) }));

async function made(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: keys(options.excludeCredentials) };
  const credential = await navigator.credentials.create({ publicKey });
  const response = credential.response;
  return told(credential, { attestationObject: text(response.attestationObject), transports: response.getTransports ? response.getTransports() : [] });
}

async function shown(options) {
  const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: keys(options.allowCredentials) };
  const credential = await navigator.credentials.get({ publicKey });
  const response = credential.response;
  const user = response.userHandle ? text(response.userHandle) : null;
  return told(credential, { authenticatorData: text(response.authenticatorData), signature: text(response.signature), userHandle: user });
}

function told(credential, response) {
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    clientExtensionResults: credential.getClientExtensionResults(),
    authenticatorAttachment: credential.authenticatorAttachment,
    response: { clientDataJSON: text(credential.response.clientDataJSON), ...response },
  });
}

// The form holds the options (of a question that the server has put) and the field that takes the answer.
each("form[data-passkey]", (form) => {
  const failed = form.querySelector("[data-failed]");
  form.querySelector("[data-start]").addEventListener("click", async () => {
    failed.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      form.elements.credential.value = await (form.dataset.passkey === "create" ? made(options) : shown(options));
      form.requestSubmit();
    } catch {
      failed.hidden = false; // said no, took too long, or there is no such key
    }
  });
  if (isNew) form.querySelector("[data-start]").click();
});

// ---- a way that leads to another site and back

if (isNew) each("a[data-follow]", (way) => way.click());
