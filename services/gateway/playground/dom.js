// Elements of the page. What users wrote gets into it as text only: the page's policy lets no script turn it into markup.

export const byId = (id) => document.getElementById(id);

// What the gateway wrote into the page.
export const settings = document.documentElement.dataset;

// An element with these properties and children; texts are texts, and what is missing is left out.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== undefined && child !== ''));
  return made;
}

// Replaces the children of an element.
export function show(id, ...children) {
  byId(id).replaceChildren(...children);
}

// A connection's id, short enough to be compared by eye.
export const short = (connId) => connId.slice(0, 6);

// The first characters of a text.
export const cut = (text, length) => (text.length > length ? `${text.slice(0, length)}…` : text);

// What a user chose to be called: its direction of writing changes nothing around it.
export const name = (text) => element('bdi', { textContent: cut(text, 60) });

// Elements for the first of `all`, and a line that says how many more there are.
export function first(all, most, make) {
  const made = all.slice(0, most).map(make);
  if (all.length > most) made.push(element('li', { textContent: `and ${all.length - most} more` }));
  return made;
}

export const count = (number, what) => `${number} ${what}${number === 1 ? '' : 's'}`;

// Runs `draw` soon, and once for all that happened until then. A timer, because a hidden tab is never painted.
export function redraws(draw) {
  let timer;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      draw();
    }, 30);
  };
}
