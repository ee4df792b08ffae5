// Signs people in by OpenID Connect: the authorization code flow with PKCE (RFC 7636), in this window. Tokens are kept in
// memory alone, so that nothing else of this origin can read them later; what has to outlive the way to the provider and
// back is the proof of who asked, and it is used once.

const KEPT = 'skein-sign-in';
// How long before its end a token is renewed, in seconds.
const EARLY = 60;

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

// What a token claims. Whoever receives it checks it; here it is only shown.
const claims = (token) => {
  const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0))));
};

export class SignIn {
  #settings;
  #provider = null;
  #token = null;
  #renewal = null;

  // configuration: the address of the provider's OpenID configuration. clientId: this page's. scope: what to ask for.
  constructor({ configuration, clientId, scope }) {
    this.#settings = { configuration, clientId, scope };
  }

  // Who is signed in, as the services see it; null before.
  get subject() {
    return this.#token === null ? null : claims(this.#token.value).sub;
  }

  // Ends the way back from the provider, if this is one. To be called once, when the page has loaded.
  async complete() {
    const answer = new URLSearchParams(location.search);
    if (!answer.has('state')) return;
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? 'null');
    sessionStorage.removeItem(KEPT);
    history.replaceState(null, '', location.pathname);
    if (kept === null || kept.state !== answer.get('state')) throw new Error('this sign-in was not begun here: sign in again');
    if (answer.has('error')) throw new Error(answer.get('error_description') ?? answer.get('error'));
    await this.#ask({
      grant_type: 'authorization_code',
      code: answer.get('code') ?? '',
      code_verifier: kept.verifier,
      redirect_uri: SignIn.#here(),
    });
  }

  // Leaves for the provider, which comes back to `complete`.
  async begin() {
    const { authorization_endpoint } = await this.#discovered();
    const [state, verifier] = [random(), random()];
    sessionStorage.setItem(KEPT, JSON.stringify({ state, verifier }));
    const challenge = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(verifier));
    const url = new URL(authorization_endpoint);
    const wanted = {
      client_id: this.#settings.clientId,
      code_challenge: base64url(new Uint8Array(challenge)),
      code_challenge_method: 'S256',
      redirect_uri: SignIn.#here(),
      response_mode: 'query',
      response_type: 'code',
      scope: this.#settings.scope,
      state,
    };
    for (const [name, value] of Object.entries(wanted)) url.searchParams.set(name, value);
    location.assign(url);
  }

  // A token that lives long enough. Where it cannot be renewed here, the person is sent to sign in again.
  async token() {
    if (this.#token !== null && this.#token.until > Date.now()) return this.#token.value;
    // Once for all who ask meanwhile: a refresh token may be good for one use.
    this.#renewal ??= this.#renew().finally(() => { this.#renewal = null; });
    return this.#renewal;
  }

  async #renew() {
    const refresh = this.#token?.refresh;
    if (refresh !== undefined) {
      try {
        await this.#ask({ grant_type: 'refresh_token', refresh_token: refresh });
        return this.#token.value;
      } catch (error) {
        // A provider that is away may come back; one that refuses wants to see the person.
        if (!error.isRefusal) throw error;
      }
    }
    this.#token = null;
    await this.begin();
    throw new Error('your sign-in has ended: it is renewed');
  }

  static #here() {
    return location.origin + location.pathname;
  }

  async #discovered() {
    if (this.#provider === null) {
      const response = await fetch(this.#settings.configuration);
      if (!response.ok) throw new Error(`who signs people in answered ${response.status}`);
      this.#provider = await response.json();
    }
    return this.#provider;
  }

  async #ask(wanted) {
    const { token_endpoint } = await this.#discovered();
    const { clientId, scope } = this.#settings;
    const response = await fetch(token_endpoint, {
      method: 'POST',
      body: new URLSearchParams({ ...wanted, client_id: clientId, scope }),
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok || answer.access_token === undefined) {
      const why = answer.error_description ?? answer.error ?? `who signs people in answered ${response.status}`;
      throw Object.assign(new Error(why), { isRefusal: [400, 401, 403].includes(response.status) });
    }
    const lasts = Number(answer.expires_in ?? 0);
    this.#token = {
      value: answer.access_token,
      // One that ends sooner than that is used to its middle.
      until: Date.now() + 1000 * Math.max(lasts - EARLY, lasts / 2),
      refresh: answer.refresh_token ?? this.#token?.refresh,
    };
  }
}
