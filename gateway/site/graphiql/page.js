// Starts GraphiQL on one service or all of them, with a development token for the principal that the form names.
'use strict';

(() => {
  const { service, path } = document.body.dataset;
  const form = document.getElementById('principal');
  const role = document.getElementById('role');
  const subject = document.getElementById('subject');
  const status = document.getElementById('status');
  let token = null;

  role.value = sessionStorage.getItem('skein.role') ?? 'operator';
  subject.value = sessionStorage.getItem('skein.subject') ?? '';

  // The token is kept in memory only, and fetched again before it ends or when the principal changes.
  async function authorization() {
    if (role.value === '') return {};
    const wanted = `${role.value}/${subject.value}`;
    if (token === null || token.wanted !== wanted || token.until < Date.now()) {
      const response = await fetch('/dev/token', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ role: role.value, subject: subject.value || undefined }),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.detail ?? `no token: ${response.status}`);
      token = { wanted, value: answer.token, until: Date.now() + (answer.expiresIn - 60) * 1000 };
    }
    return { authorization: `Bearer ${token.value}` };
  }

  async function fetcher(request, options) {
    const response = await fetch(`/${path}`, {
      method: 'POST',
      headers: { ...options?.headers, ...(await authorization()), 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    const trace = response.headers.get('x-trace-id');
    status.textContent = `${response.status}${trace === null ? '' : ` · trace ${trace}`}`;
    const text = await response.text();
    try {
      return JSON.parse(text);
    } catch {
      return { errors: [{ message: `${response.status}: ${text}` }] };
    }
  }

  function render() {
    root.render(
      React.createElement(GraphiQL, {
        key: `${role.value}/${subject.value}`,
        fetcher,
        defaultQuery: `# ${service}: the book on the left is the schema.\n{\n  __typename\n}\n`,
      }),
    );
  }

  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('change', () => {
    sessionStorage.setItem('skein.role', role.value);
    sessionStorage.setItem('skein.subject', subject.value);
    render();
  });

  const root = ReactDOM.createRoot(document.getElementById('graphiql'));
  render();
})();
