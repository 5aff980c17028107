// The bar above the documentation, on a development chain only: a button makes a throw-away wallet with funds and
// signs it in; from then on the page's requests carry its token, and what they bring to sign can be signed and sent.

const LAMPORTS = 100 * 10 ** 9;

const STYLE = `
body { margin: 0; }
.wallet-bar { position: sticky; top: 0; z-index: 10; display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center;
  padding: 10px 20px; background: #16332b; color: #e9f5f0; font: 14px/1.4 system-ui, sans-serif; }
.wallet-bar button { padding: 6px 14px; border: 0; border-radius: 4px; background: #3ecf8e; color: #06281b;
  font: inherit; font-weight: 600; cursor: pointer; }
.wallet-bar button:disabled { background: #4b6b61; color: #b7cbc4; cursor: default; }
.wallet-bar output { flex: 1 1 280px; overflow-wrap: anywhere; }
.wallet-bar output.failed { color: #ffc2b8; }
`;

class TryOut {
  constructor() {
    this.wallet = null;
    this.session = null;
    this.unsigned = null;
    this.bar = document.createElement("section");
    this.bar.className = "wallet-bar";
    this.bar.setAttribute("aria-label", "Try it on the development chain");
    this.signInButton = this.button("Sign in with a new wallet that has 100 SOL", () => this.enter());
    this.signButton = this.button("Sign and send", () => this.signAndSend());
    this.signButton.hidden = true;
    this.said = document.createElement("output");
    this.bar.append(this.signInButton, this.signButton, this.said);
    this.say("This is a development chain. The wallet lives in this page, and ends with it.");
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    document.body.prepend(this.bar);
  }

  button(label, work) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.disabled = true;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await work();
      } catch (error) {
        this.say(error.message, true);
      }
      button.disabled = false;
    });
    return button;
  }

  say(text, failed = false) {
    this.said.textContent = text;
    this.said.classList.toggle("failed", failed);
  }

  ready(ui) {
    this.ui = ui;
    this.signInButton.disabled = false;
  }

  async enter() {
    this.say("making a wallet …");
    try {
      this.wallet = await makeWallet();
    } catch {
      throw new Error("This browser has no Ed25519: take a newer one, or `zmartd token`.");
    }
    const { address } = this.wallet;
    this.say(`${address} gets 100 SOL …`);
    await airdrop(DEVELOPMENT_RPC, address, LAMPORTS);
    this.session = await signIn(location.origin, this.wallet, location.host);
    this.ui.preauthorizeApiKey("bearer", this.session.token);
    this.signInButton.textContent = "Another wallet";
    const until = new Date(this.session.expires_at).toLocaleTimeString();
    this.say(`${address} has 100 SOL and is signed in until ${until}. Requests of this page carry its token.`);
  }

  /** Remember the transaction in an answer of the API, if there is one to sign. */
  take(response) {
    const transaction = response.ok && response.body?.transaction;
    if (this.wallet && typeof transaction === "string" && !response.url.endsWith("/api/transactions")) {
      this.unsigned = transaction;
      this.protection = response.body.protection;
      this.signButton.hidden = false;
      this.signButton.disabled = false;
      this.say("The answer has a transaction to sign.");
    }
    return response;
  }

  async signAndSend() {
    const signed = await signTransaction(this.wallet, this.unsigned);
    this.say("sent, and not confirmed yet …");
    const answer = await send(location.origin, this.session.token, signed, this.protection);
    this.signButton.hidden = true;
    const events = (answer.events ?? []).map((event) => event.name).join(", ");
    this.say(`${answer.status}: ${answer.signature}${events && ` (${events})`}`);
  }
}

const tryOut = new TryOut();
startDocs({ onComplete: () => tryOut.ready(window.ui), responseInterceptor: (response) => tryOut.take(response) });
