// How the page renews tokens, without a browser: the provider gives tokens that are over at once, and refresh tokens that
// are good for one use. It prints what the provider was asked, what those got who asked for a token at the same time, and how
// often the person was sent to sign in.
import { SignIn } from '../../gateway/site/shop/sign-in.js';

const kept = new Map([['skein-sign-in', JSON.stringify({ state: 's', verifier: 'v' })]]);
const seen = { asked: [], given: [], left: 0 };
Object.assign(globalThis, {
  history: { replaceState() {} },
  location: { origin: 'https://shop.example', pathname: '/', search: '?code=c&state=s', assign() { seen.left += 1; } },
  sessionStorage: {
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => kept.set(name, value),
    removeItem: (name) => kept.delete(name),
  },
});
let good = null;
globalThis.fetch = async (url, request) => {
  const answer = (status, body) => ({ ok: status < 300, status, json: async () => body });
  if (url === 'configuration') return answer(200, { authorization_endpoint: 'https://login.example/', token_endpoint: 'token' });
  const { code, refresh_token } = Object.fromEntries(request.body);
  seen.asked.push(code ?? refresh_token);
  if (refresh_token !== (good ?? undefined) || seen.asked.length > 2) return answer(400, { error: 'invalid_grant' });
  good = `refresh-${seen.asked.length}`;
  return answer(200, { access_token: `token-${seen.asked.length}`, expires_in: 0, refresh_token: good });
};

const signIn = new SignIn({ configuration: 'configuration', clientId: 'c', scope: 's' });
await signIn.complete();
for (let round = 0; round < 2; round++) {
  const all = await Promise.allSettled([signIn.token(), signIn.token(), signIn.token()]);
  seen.given.push(all.map(({ value, reason }) => value ?? reason.message));
}
console.log(JSON.stringify(seen));
