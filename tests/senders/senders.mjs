// Signs with the senders' own libraries, and asks them to judge.
//
//   node senders.mjs URL [VECTORS]

import { readFileSync } from "node:fs";
import { sign as githubSign, verify as githubVerify } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import twilio from "twilio";

const [url, vectors] = process.argv.slice(2);
const stripe = new Stripe("sk_test_nothing");
const env = process.env;
const TWILIO_URL = "https://hooks.example.com/webhook/twilio?tenant=1";
let passed = 0;
let failed = 0;

function check(name, holds, otherwise) {
  holds ? passed++ : failed++;
  console.log(holds ? `ok      ${name}` : `FAILED  ${name}: ${otherwise}`);
}

// ------------------------------------------------------------------------------------------------------------
// Sending.

async function post(source, headers, body) {
  const answer = await fetch(`${url}/webhook/${source}`, { method: "POST", headers, body });
  return { status: answer.status, body: await answer.json() };
}

// A sender: its source, and the headers with which its library signs a body.
const SENDERS = {
  github: {
    body: JSON.stringify({ zen: "Keep it logically awesome.", text: "schöne Grüße" }),
    headers: async (body, id) => ({
      "content-type": "application/json",
      "x-github-event": "ping",
      "x-github-delivery": id,
      "x-hub-signature-256": await githubSign(env.GITHUB_SECRET, body),
    }),
  },
  stripe: {
    body: JSON.stringify({ id: "evt_1", object: "event", type: "invoice.paid" }, null, 2),
    headers: async (body) => ({
      "content-type": "application/json; charset=utf-8",
      "stripe-signature": stripe.webhooks.generateTestHeaderString({ payload: body, secret: env.STRIPE_SECRET }),
    }),
  },
  billing: {
    body: JSON.stringify({ type: "contact.created", data: { n: 1.5 } }),
    headers: async (body, id) => {
      const now = new Date();
      return {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(now / 1000)),
        "webhook-signature": new Webhook(env.BILLING_SECRET).sign(id, now, body),
      };
    },
  },
  twilio: {
    body: new URLSearchParams({ MessageSid: "SM1", Body: "1 + 1 = 2 & mehr", From: "+14158675309" }).toString(),
    headers: async (body) => ({
      "content-type": "application/x-www-form-urlencoded",
      "x-twilio-signature": twilio.getExpectedTwilioSignature(
        env.TWILIO_TOKEN,
        TWILIO_URL,
        Object.fromEntries(new URLSearchParams(body)),
      ),
    }),
  },
};

for (const [source, sender] of Object.entries(SENDERS)) {
  const headers = await sender.headers(sender.body, `${source}-1`);
  const first = await post(source, headers, sender.body);
  check(`${source}: what its own library signs is accepted`, first.status === 202, JSON.stringify(first));
  const again = await post(source, headers, sender.body);
  const known = again.body.duplicate === true && again.body.executionToken === first.body.executionToken;
  check(`${source}: sent again it is known`, known, JSON.stringify(again));
  const changed = await post(source, headers, sender.body.replace(/[a-z]/, "#"));
  check(`${source}: with another body it is refused`, changed.status === 401, JSON.stringify(changed));
  const other = await sender.headers(`${sender.body} `, `${source}-2`);
  const refused = await post(source, other, sender.body);
  check(`${source}: with another body's signature it is refused`, refused.status === 401, JSON.stringify(refused));
}

// ------------------------------------------------------------------------------------------------------------
// Judging.

const header = (vector, name) => {
  const pairs = Array.isArray(vector.headers) ? vector.headers : Object.entries(vector.headers);
  return pairs.find(([key]) => key.toLowerCase() === name)?.[1];
};
const secrets = (vector) => (Array.isArray(vector.secret) ? vector.secret : [vector.secret]);
const is = async (judge) => {
  try {
    return Boolean(await judge());
  } catch {
    return false;
  }
};

// What each library says of a vector, at the vector's time.
const LIBRARIES = {
  github: (v, body, secret) => githubVerify(secret, body, header(v, "x-hub-signature-256")),
  stripe: (v, body, secret) =>
    stripe.webhooks.constructEvent(body, header(v, "stripe-signature"), secret, v.tolerance_s ?? 300, undefined, v.now_unix * 1000),
  standard_webhooks: (v, body, secret) => {
    const named = (prefix) =>
      Object.fromEntries(["id", "timestamp", "signature"].map((part) => [`webhook-${part}`, header(v, `${prefix}-${part}`)]));
    const real = Date.now;
    Date.now = () => v.now_unix * 1000;
    try {
      new Webhook(secret).verify(body, header(v, "svix-id") ? named("svix") : named("webhook"));
      return true;
    } finally {
      Date.now = real;
    }
  },
  twilio: (v, body, secret) => {
    const signature = header(v, "x-twilio-signature");
    return v.url.includes("bodySHA256")
      ? twilio.validateRequestWithBody(secret, signature, v.url, body)
      : twilio.validateRequest(secret, signature, v.url, form(body));
  },
};

function form(body) {
  const parameters = {};
  for (const [name, value] of new URLSearchParams(body)) {
    parameters[name] = name in parameters ? [parameters[name], value].flat() : value;
  }
  return parameters;
}

// Where a library judges otherwise than we and the vector do, and why.
const OTHERWISE = [
  [/~dup-sig-header$/, "two headers of one name: libraries see one, we refuse"],
  [/^stripe.*~too-new$/, "Stripe's library checks the past only"],
  [/^stdwh-v1a/, "its library knows no v1a"],
  [/^twilio.*~body-append$/, "a form's parser is handed the parameters, not the bytes"],
];

if (vectors) {
  const collection = JSON.parse(readFileSync(vectors, "utf8")).vectors;
  for (const [scheme, judge] of Object.entries(LIBRARIES)) {
    let agreed = 0;
    const apart = [];
    for (const vector of collection.filter((v) => v.scheme === scheme)) {
      const body = vector.body_encoding === "base64" ? Buffer.from(vector.body, "base64").toString("latin1") : vector.body;
      const verdicts = await Promise.all(secrets(vector).map((secret) => is(() => judge(vector, body, secret))));
      const valid = verdicts.includes(true);
      if (valid === (vector.expected === "valid")) agreed++;
      else if (!OTHERWISE.some(([which]) => which.test(vector.id))) apart.push(vector.id);
    }
    check(`${scheme}: its library and the vectors agree on ${agreed}`, apart.length === 0 && agreed > 5, apart.join(", "));
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
