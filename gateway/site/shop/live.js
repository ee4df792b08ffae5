// Follows GraphQL subscriptions over SignalR. Every change arrives once and in order, through lost connections, as long as
// no connection was missing for more than five minutes and no more than 64 changes were missed; then what is so now arrives
// instead.

const FIRST_DELAY = 250;
const LONGEST_DELAY = 10_000;
const delay = (attempt) => Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt) * (0.5 + Math.random() / 2);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
// How long before the end of a session it is renewed, in seconds. A short one is used to its middle: renewed with a token
// that ends as soon, the next one is half as long, until the token is refused and a new one has to come.
const EARLY = 60;
const renewedAfter = (seconds) => Math.max(1, seconds / 2, seconds - EARLY);

export class Live {
  #options;
  #connection = null;
  #subscriptions = new Map();
  #ids = 0;
  #stopped = false;
  #renewal = null;

  // signalR: the official client. url: where to negotiate, without `/negotiate`. token: gives a bearer token.
  // onState: is told `connected`, `reconnecting` or `stopped`.
  constructor({ signalR, url, token, onState = () => {} }) {
    this.#options = { signalR, url, token, onState };
  }

  // Connects, and tries again until it succeeds. What is subscribed to meanwhile begins then.
  async start() {
    this.#stopped = false;
    await this.#connect();
  }

  async stop() {
    this.#stopped = true;
    clearTimeout(this.#renewal);
    await this.#connection?.stop();
    this.#options.onState('stopped');
  }

  // Breaks the connection and takes it up again, as a lost network would.
  async reconnect() {
    this.#detach();
    await this.#connect();
  }

  // Calls next(payloads, isNow) with what is so now, where the operation tells it, and then for each change; failed(errors)
  // if the operation is refused. Gives a function that ends the subscription.
  subscribe(request, next, failed = (errors) => console.error(errors)) {
    const id = `s${++this.#ids}`;
    const subscription = { id, request, next, failed, group: null, last: 0, busy: false, early: [] };
    this.#subscriptions.set(id, subscription);
    this.#begin(subscription);
    return () => {
      this.#subscriptions.delete(id);
      if (this.#isConnected()) this.#connection.invoke('complete', id).catch(() => {});
    };
  }

  #isConnected() {
    return this.#connection?.state === this.#options.signalR.HubConnectionState.Connected;
  }

  async #connect() {
    const { signalR, url, token, onState } = this.#options;
    for (let attempt = 0; !this.#stopped; attempt++) {
      const connection = new signalR.HubConnectionBuilder()
        .withUrl(url, { accessTokenFactory: token })
        .configureLogging(signalR.LogLevel.None)
        .build();
      connection.on('next', (message) => this.#hear(connection, message));
      connection.on('renew', (message) => this.#renew(connection, message.group));
      connection.onclose(() => {
        // One that was replaced says nothing any more.
        if (connection === this.#connection && !this.#stopped) {
          onState('reconnecting');
          this.#connection = null;
          this.#connect();
        }
      });
      this.#connection = connection;
      for (const subscription of this.#subscriptions.values()) subscription.busy = true;
      try {
        await connection.start();
        onState('connected');
        await Promise.all([...this.#subscriptions.values()].map((subscription) => this.#begin(subscription)));
        return;
      } catch (error) {
        if (connection !== this.#connection) return;
        this.#connection = null;
        onState('reconnecting', error);
        await wait(delay(attempt));
      }
    }
  }

  #detach() {
    const old = this.#connection;
    this.#connection = null;
    old?.stop().catch(() => {});
  }

  // Renews the session before it ends.
  #schedule(seconds) {
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => this.reconnect(), renewedAfter(seconds) * 1000);
    this.#renewal.unref?.();
  }

  async #begin(subscription) {
    subscription.busy = true;
    if (!this.#isConnected()) return;
    const connection = this.#connection;
    const { id, request, group, last } = subscription;
    const resume = group === null ? undefined : { group, number: last };
    let answer;
    try {
      answer = await connection.invoke('subscribe', id, { ...request, resume });
    } catch (error) {
      // A connection that is lost begins everything anew; a refusal of the hub itself is tried again.
      if (connection === this.#connection && this.#isConnected()) {
        await wait(FIRST_DELAY);
        return this.#begin(subscription);
      }
      return;
    }
    if (connection !== this.#connection || !this.#subscriptions.has(id)) return;
    if (answer.errors !== undefined) {
      const code = answer.errors[0]?.extensions?.code;
      if (code === 'UNAUTHENTICATED') {
        // Over already, where the clocks of two apps differ: not at once again.
        await wait(delay(0));
        return connection === this.#connection && !this.#stopped ? this.reconnect() : undefined;
      }
      if (code === 'UNAVAILABLE') {
        await wait(LONGEST_DELAY / 10);
        return this.#begin(subscription);
      }
      this.#subscriptions.delete(id);
      subscription.failed(answer.errors);
      return;
    }
    this.#schedule(answer.expiresIn);
    subscription.group = answer.group;
    subscription.busy = false;
    if (answer.missed === undefined) {
      subscription.last = answer.number;
      subscription.next(answer.payloads, true);
    } else {
      for (const message of answer.missed) this.#deliver(subscription, message);
    }
    // What came before the answer.
    const early = subscription.early.splice(0);
    for (const message of early) if (message.group === subscription.group) this.#deliver(subscription, message);
  }

  #hear(connection, message) {
    if (connection !== this.#connection) return;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.busy) subscription.early.push(message);
      else if (subscription.group === message.group) this.#deliver(subscription, message);
    }
  }

  #deliver(subscription, message) {
    // Told twice.
    if (message.number <= subscription.last) return;
    if (subscription.busy) {
      subscription.early.push(message);
      return;
    }
    // Something was lost on the way.
    if (message.previous > subscription.last) {
      this.#begin(subscription);
      return;
    }
    subscription.last = message.number;
    subscription.next(message.payloads, false);
  }

  #renew(connection, group) {
    if (connection !== this.#connection) return;
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.group === group && !subscription.busy) this.#begin(subscription);
    }
  }
}
