// Renews <main> with what the server sends, touching only the nodes that differ.
const main = document.querySelector("main");
const light = document.querySelector("#live");

function match(old, now) {
  if (old.isEqualNode(now)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== now.nodeName || old.id !== now.id) {
    old.replaceWith(now);
    return;
  }
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  matchChildren(old, now);
}

function matchChildren(old, now) {
  const before = [...old.childNodes];
  const after = [...now.childNodes];
  after.forEach((node, place) => (place < before.length ? match(before[place], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

function show(state) {
  light.textContent = state;
  light.className = state;
}

if (main.dataset.events) {
  const events = new EventSource(main.dataset.events);
  events.onopen = () => show("live");
  events.onmessage = (event) => {
    const page = new DOMParser().parseFromString(JSON.parse(event.data), "text/html");
    matchChildren(main, page.body);
  };
  events.onerror = () => {
    show("waiting");
    if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
  };
}
