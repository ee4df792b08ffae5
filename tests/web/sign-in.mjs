// Signing in to the shop's page in a browser. The provider is played here, at addresses of the gateway's origin that the
// gateway does not have: it checks what the page sends as RFC 6749 and RFC 7636 want it. Arguments: where npm's packages
// are, the browser, the gateway, and the tokens that the provider gives, one after the other.
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { open } from './browser.mjs';

const [packages, chromium, gateway, ...tokens] = process.argv.slice(2);
const WebSocket = createRequire(join(packages, 'package.json'))('ws');
const here = `${gateway}/shop/`;
const provider = { authorization_endpoint: `${gateway}/oidc/authorize`, token_endpoint: `${gateway}/oidc/token` };
const settings = { configuration: `${gateway}/oidc/configuration`, clientId: 'the-page', scope: 'api://clients/.default' };
const json = (status, body) => ({ status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
// What the provider has been asked, and the code that it gave last.
const asked = [];
let given = null;
let refuses = null;

const routes = {
  '/shop/config.json': () => json(200, { gateway: '', signIn: settings }),
  '/oidc/configuration': () => json(200, provider),
  '/oidc/authorize': (url) => {
    const wanted = Object.fromEntries(url.searchParams);
    const { state, code_challenge, ...rest } = wanted;
    asked.push({ authorize: rest });
    const back = new URL(wanted.redirect_uri);
    if (refuses !== null) {
      back.searchParams.set('error', 'access_denied');
      back.searchParams.set('error_description', refuses);
      back.searchParams.set('state', state);
      return { status: 302, headers: { location: String(back) }, body: '' };
    }
    given = { code: `code-${asked.length}`, challenge: code_challenge };
    back.searchParams.set('code', given.code);
    back.searchParams.set('state', state);
    return { status: 302, headers: { location: String(back) }, body: '' };
  },
  '/oidc/token': (url, body) => {
    const { code, code_verifier, ...rest } = Object.fromEntries(new URLSearchParams(body));
    asked.push({ token: rest });
    if (rest.grant_type === 'authorization_code') {
      const proof = createHash('sha256').update(code_verifier).digest('base64url');
      if (given === null || code !== given.code || proof !== given.challenge) return json(400, { error: 'invalid_grant' });
      // A code is used once.
      given = null;
    }
    const token = tokens.shift();
    if (token === undefined) return json(400, { error: 'invalid_grant', error_description: 'the sign-in has ended' });
    return json(200, { access_token: token, expires_in: 3600, refresh_token: 'refresh', token_type: 'Bearer' });
  },
};

const page = await open(WebSocket, chromium, here, (url, body) => routes[new URL(url).pathname]?.(new URL(url), body));
try {
  await page.until('nobody is signed in', "document.querySelector('#customer button').textContent === 'Sign in'");
  const before = await page.look("({ token: document.getElementById('token-label').hidden, place: document.querySelector('#place button').disabled })");
  // Whoever is refused is told so.
  refuses = 'not you';
  await page.click('#customer button');
  const refusal = await page.until('the refusal', "document.querySelector('#said.failed')?.textContent");
  refuses = null;
  // An answer to nothing that was asked here is not taken.
  await page.go(`${here}?code=stolen&state=forged`);
  const forged = await page.until('the forged answer is refused', "document.querySelector('#said.failed')?.textContent");
  await page.click('#customer button');
  await page.until('the page is live', "document.getElementById('state').dataset.state === 'connected'");
  await page.until('the customer is whoever signed in', "document.querySelector('#customer input').value === 'ann'");
  await page.until('the totals are there', "document.getElementById('orders').textContent === '0'");
  const seen = await page.look("({ address: location.href, kept: Object.keys(sessionStorage), stored: Object.keys(localStorage) })");
  console.log(JSON.stringify({ before, refusal, forged, ...seen, asked, problems: page.problems }));
} finally {
  await page.close();
}
