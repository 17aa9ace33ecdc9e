// The token that the service may ask for: typed in, and kept until the tab is closed.

const KEY = 'fleetcall-token';

export function token() {
  return sessionStorage.getItem(KEY) ?? '';
}

/** The dialog that asks for it; `used` is called when there is another one. */
export class TokenDialog {
  #dialog = document.getElementById('token-dialog');
  #value = document.getElementById('token-value');
  #why = document.getElementById('token-why');
  #button = document.getElementById('token');

  constructor(used) {
    this.#button.hidden = !token();
    this.#button.addEventListener('click', () => this.#dialog.showModal());
    document.getElementById('token-form').addEventListener('submit', () => {
      sessionStorage.setItem(KEY, this.#value.value.trim());
      this.#value.value = '';
      used();
    });
    document.getElementById('token-forget').addEventListener('click', () => {
      sessionStorage.removeItem(KEY);
      this.#value.value = '';
      this.#dialog.close();
      used();
    });
  }

  /** Asks, unless it does already. */
  ask() {
    this.#button.hidden = false;
    this.#why.textContent = token()
      ? 'This service does not know that token. Paste all of it again, or ask whoever runs this service for ' +
        'another one.'
      : 'This service answers only to those who have a token. Paste yours here; if you have none, ask whoever ' +
        'runs this service for one. It is kept until this tab is closed.';
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
