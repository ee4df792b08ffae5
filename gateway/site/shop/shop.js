// The shop's page: places orders and shows live what becomes of them.
import { Live } from './live.js';
import { SignIn } from './sign-in.js';

const byId = (id) => document.getElementById(id);
const customerForm = byId('customer');
const placeForm = byId('place');
const said = byId('said');
const state = byId('state');
const list = byId('list');

const CONNECTION = { connected: 'live', reconnecting: 'connecting…', stopped: 'not connected' };
// What is asked: each is a file of services/orders/operations, letter for letter, so that it is answered where nothing else is.
const LIST = `query ShopOrders($customer: ID!) {
  customerOrders(customerId: $customer, first: 50) { edges { node { id placedAt status total } } }
}
`;
const FOLLOW_LIST = `subscription ShopFollowOrders($customer: ID!) {
  customerOrders(customerId: $customer) { id placedAt status total }
}
`;
const FOLLOW_TOTALS = `subscription ShopFollowTotals($customer: ID!) {
  customerTotals(customerId: $customer) { orders returns revenue }
}
`;
const PLACE = `mutation ShopPlaceOrder($input: PlaceOrderInput!, $commandId: ID!) {
  placeOrder(input: $input, commandId: $commandId, await: COMMITTED) {
    outcome { status rejection { code message } }
  }
}
`;

const config = await (await fetch('config.json')).json();
const signIn = config.signIn === undefined ? null : new SignIn(config.signIn);
byId('token-label').hidden = config.tokens !== undefined || signIn !== null;
let customer = null;
let live = null;
let known = null;

// Of whoever signed in; else a development token of the local gateway, or the one that was typed in.
async function token() {
  if (signIn !== null) return signIn.token();
  if (config.tokens === undefined) return customerForm.elements.token.value.trim();
  if (known !== null && known.subject === customer && known.until > Date.now()) return known.token;
  const response = await fetch(config.gateway + config.tokens, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ role: 'customer', subject: customer }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? `no token: ${response.status}`);
  known = { subject: customer, token: answer.token, until: Date.now() + (answer.expiresIn - 60) * 1000 };
  return known.token;
}

async function ask(query, variables) {
  const response = await fetch(`${config.gateway}/orders/graphql`, {
    method: 'POST',
    headers: {
      accept: 'application/graphql-response+json, application/json;q=0.9',
      authorization: `Bearer ${await token()}`,
      'content-type': 'application/json',
    },
    body: JSON.stringify({ query, variables }),
  });
  const answer = await response.json().catch(() => ({}));
  if (answer.errors?.length > 0) throw new Error(answer.errors[0].message);
  if (!response.ok) throw new Error(answer.detail ?? answer.title ?? `the gateway answered ${response.status}`);
  return answer.data;
}

function show(order) {
  const cell = (text) => Object.assign(document.createElement('td'), { textContent: text });
  const row = byId(`order-${order.id}`) ?? document.createElement('tr');
  const isChanged = row.dataset.status !== undefined && row.dataset.status !== order.status;
  row.id = `order-${order.id}`;
  Object.assign(row.dataset, { order: order.id, placed: order.placedAt, status: order.status });
  const status = Object.assign(document.createElement('span'), { className: 'status', textContent: order.status.toLowerCase() });
  status.dataset.status = order.status;
  const last = document.createElement('td');
  last.append(status);
  row.replaceChildren(cell(order.id), cell(new Date(order.placedAt).toLocaleString()), cell(order.total), last);
  row.classList.toggle('changed', isChanged);
  if (!row.isConnected) {
    const older = [...list.children].find((other) => Date.parse(other.dataset.placed) <= Date.parse(order.placedAt));
    list.insertBefore(row, older ?? null);
  }
  byId('empty').hidden = true;
}

function fail(error) {
  said.textContent = error.message ?? String(error);
  said.className = 'failed';
}

async function open(id) {
  await live?.stop();
  customer = id;
  list.replaceChildren();
  byId('empty').hidden = false;
  for (const name of ['orders', 'returns', 'revenue']) byId(name).textContent = '–';
  live = new Live({
    signalR,
    url: `${config.gateway}/orders/subscriptions`,
    token,
    onState(now) {
      state.dataset.state = now;
      state.textContent = CONNECTION[now];
    },
  });
  const refused = (errors) => fail(errors[0]);
  // The list is asked once it is followed: whatever changes from then on arrives. What arrives before is newer.
  const seen = new Set();
  live.subscribe({ query: FOLLOW_LIST, variables: { customer } }, async (payloads, isNow) => {
    for (const { data } of payloads) {
      if (data?.customerOrders == null) continue;
      seen.add(data.customerOrders.id);
      show(data.customerOrders);
    }
    if (!isNow) return;
    try {
      seen.clear();
      const { customerOrders } = await ask(LIST, { customer: id });
      if (customer !== id) return;
      for (const { node } of customerOrders.edges) if (!seen.has(node.id)) show(node);
    } catch (error) {
      fail(error);
    }
  }, refused);
  live.subscribe({ query: FOLLOW_TOTALS, variables: { customer } }, (payloads) => {
    const totals = payloads.at(-1)?.data?.customerTotals;
    if (totals == null) return;
    for (const name of ['orders', 'returns', 'revenue']) byId(name).textContent = totals[name];
  }, refused);
  await live.start();
}

customerForm.addEventListener('submit', (event) => {
  event.preventDefault();
  said.textContent = '';
  if (signIn !== null && signIn.subject === null) signIn.begin().catch(fail);
  else open(customerForm.elements.customer.value.trim()).catch(fail);
});

// One order, one command id: whoever presses again after a failure asks for the same, not for another one.
let wanted = null;
placeForm.addEventListener('input', () => { wanted = null; });
placeForm.addEventListener('submit', async (event) => {
  event.preventDefault();
  const { sku, quantity, unitPrice } = placeForm.elements;
  const button = placeForm.querySelector('button');
  button.disabled = true;
  said.textContent = '';
  said.className = '';
  wanted ??= { orderId: crypto.randomUUID(), commandId: crypto.randomUUID(), placedAt: new Date().toISOString() };
  try {
    const lines = [{ sku: sku.value.trim(), quantity: Number(quantity.value), unitPrice: unitPrice.value.trim() }];
    const input = { orderId: wanted.orderId, customerId: customer, placedAt: wanted.placedAt, lines };
    const { placeOrder } = await ask(PLACE, { input, commandId: wanted.commandId });
    const { status, rejection } = placeOrder.outcome;
    if (rejection != null) throw new Error(rejection.message);
    said.textContent = status === 'COMMITTED' ? 'Placed.' : 'Accepted: it appears as soon as it is decided.';
    wanted = null;
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
});

// Before anybody signed in there is nothing to show; then the customer is whoever did.
function showSignIn() {
  const isSignedIn = signIn.subject !== null;
  if (isSignedIn) customerForm.elements.customer.value = signIn.subject;
  customerForm.elements.customer.closest('label').hidden = !isSignedIn;
  customerForm.querySelector('button').textContent = isSignedIn ? 'Show' : 'Sign in';
  placeForm.querySelector('button').disabled = !isSignedIn;
}

if (signIn !== null) {
  await signIn.complete().catch(fail);
  showSignIn();
}
if (config.tokens !== undefined || (signIn !== null && signIn.subject !== null)) {
  open(customerForm.elements.customer.value.trim()).catch(fail);
}
