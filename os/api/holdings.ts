/** What holders of tokens have besides a balance, as routes: locked transfers, delegated tokens, names. Reads are of final state, and public. */
import { addressText, parseAddress } from "#chain/codec/address.ts";
import { delegationIdOf, nameIdOf } from "#chain/codec/holderOperations.ts";
import { stateKey } from "#chain/codec/proof.ts";
import { VOTABLE, type VotableName } from "#chain/constants.ts";
import type { DelegationView, LockView, NameView } from "#chain/ledger/holdingsView.ts";
import type { LedgerView } from "#chain/ledger/view.ts";
import { type Address, address, fromHex, hex } from "#chain/types.ts";
import { hostOfName } from "../hosts.ts";
import type { Context } from "./context.ts";
import { decimal } from "./json.ts";
import { PAGING, pageOf } from "./paging.ts";
import { refuseWith } from "./problems.ts";
import { PROOF_ANSWERS, proofOf } from "./proofs.ts";
import { type Call, type Json, type Route, type Schema, json } from "./route.ts";
import { ADDRESS_PARAMETER, HOLDING_PARAMETER, NAME_PARAMETER, page, ref } from "./schemas.ts";

const answers = (schema: Schema): Route["answers"] => ({ 200: { description: "The answer", types: ["application/json"], schema } });

export function holdingRoutes(context: Context): readonly Route[] {
  const view = (): LedgerView => context.node.view();
  return [
    {
      id: "getParameters", method: "GET", path: "/v1/parameters", auth: "none", summary: "What votes can change: values, bounds, what is decided and what is proposed", answers: answers(ref("Parameters")),
      run: () => json(parametersJson(view())),
    },
    {
      id: "getProposalProof", method: "GET", path: "/v1/proofs/proposals/{id}", auth: "none", summary: "Proof of a proposal and its votes, or that none such is open",
      parameters: { id: HOLDING_PARAMETER }, answers: PROOF_ANSWERS, run: ({ parameters }) => proofOf(context, stateKey("proposal", idIn(parameters["id"]))),
    },
    {
      id: "getParametersProof", method: "GET", path: "/v1/proofs/parameters", auth: "none", summary: "Proof of what votes have changed of the chain's preset, or that they have changed nothing",
      answers: PROOF_ANSWERS, run: () => proofOf(context, stateKey("settings")),
    },
    {
      id: "getNames", method: "GET", path: "/v1/names", auth: "none", summary: "Names of an account",
      query: { account: ADDRESS_PARAMETER, ...PAGING }, answers: answers(page("names", ref("Name"))),
      run: ({ query }) => {
        const { items, next } = view().namesOf(accountIn(query), pageOf(query));
        return json({ names: items.map((one) => nameJson(one, context.zone)), next });
      },
    },
    {
      id: "getName", method: "GET", path: "/v1/names/{name}", auth: "none", summary: "Whose a name is, and where it points",
      parameters: { name: NAME_PARAMETER }, answers: answers(ref("Name")),
      run: ({ parameters }) => json(nameJson(view().name(parameters["name"] ?? "") ?? refuseWith("name_unknown", `Cannot find name ${parameters["name"]}: nobody has it`), context.zone)),
    },
    {
      id: "getNameProof", method: "GET", path: "/v1/proofs/names/{name}", auth: "none", summary: "Proof of a name, or that nobody has it",
      parameters: { name: NAME_PARAMETER }, answers: PROOF_ANSWERS, run: ({ parameters }) => proofOf(context, stateKey("name", nameIdOf(parameters["name"] ?? ""))),
    },
    {
      id: "getDelegations", method: "GET", path: "/v1/delegations", auth: "none", summary: "What an account has behind validators, or (with `validator`) who has something behind one",
      query: { account: ADDRESS_PARAMETER, validator: ADDRESS_PARAMETER, ...PAGING }, answers: answers(page("delegations", ref("Delegation"))),
      run: ({ query }) => {
        const { items, next } = query["validator"] === undefined ? view().delegationsOf(accountIn(query), pageOf(query)) : view().delegationsTo(addressIn(query["validator"]), pageOf(query));
        return json({ delegations: items.map(delegationJson), next });
      },
    },
    {
      id: "getDelegationProof", method: "GET", path: "/v1/proofs/delegations/{validator}/{account}", auth: "none", summary: "Proof of an account's shares of a validator, or that it has none",
      parameters: { validator: ADDRESS_PARAMETER, account: ADDRESS_PARAMETER }, answers: PROOF_ANSWERS,
      run: ({ parameters }) => proofOf(context, stateKey("delegation", delegationIdOf(addressIn(parameters["validator"]), addressIn(parameters["account"])))),
    },
    {
      id: "getValidatorProof", method: "GET", path: "/v1/proofs/validators/{validator}", auth: "none", summary: "Proof of a validator and its stake, or that there is none",
      parameters: { validator: ADDRESS_PARAMETER }, answers: PROOF_ANSWERS, run: ({ parameters }) => proofOf(context, stateKey("validator", addressIn(parameters["validator"]))),
    },
    {
      id: "getLocks", method: "GET", path: "/v1/locks", auth: "none", summary: "Locked transfers that an account made, or that are for it",
      query: { account: ADDRESS_PARAMETER, ...PAGING }, answers: answers(page("locks", ref("Lock"))),
      run: ({ query }) => {
        const { items, next } = view().locksOf(accountIn(query), pageOf(query));
        return json({ locks: items.map(lockJson), next });
      },
    },
    {
      id: "getLock", method: "GET", path: "/v1/locks/{id}", auth: "none", summary: "One locked transfer, until it is claimed or refunded",
      parameters: { id: HOLDING_PARAMETER }, answers: answers(ref("Lock")),
      run: ({ parameters }) => json(lockJson(view().lock(idIn(parameters["id"])) ?? refuseWith("lock_unknown", `Cannot find lock ${parameters["id"]}: it never was, or was claimed or refunded`))),
    },
    {
      id: "getLockProof", method: "GET", path: "/v1/proofs/locks/{id}", auth: "none", summary: "Proof of a locked transfer, or that there is none",
      parameters: { id: HOLDING_PARAMETER }, answers: PROOF_ANSWERS, run: ({ parameters }) => proofOf(context, stateKey("lock", idIn(parameters["id"]))),
    },
  ];
}

const lockJson = ({ id, sender, recipient, amount, hash, expiryMs }: LockView): Json =>
  ({ id: hex(id), sender: addressText(sender), recipient: addressText(recipient), amount: decimal(amount), hash: hex(hash), expiryMs: decimal(expiryMs) });

const nameJson = ({ name, owner, deployment, expiryMs }: NameView, zone: string): Json =>
  ({ name, owner: addressText(owner), deployment: deployment === null ? null : hex(deployment), host: hostOfName(name, zone), expiryMs: decimal(expiryMs) });
function parametersJson(view: LedgerView): Json {
  const now = view.parameters();
  return {
    parameters: (Object.keys(VOTABLE) as VotableName[]).map((name) => ({ name, value: String(now[name]), min: decimal(VOTABLE[name].min), max: decimal(VOTABLE[name].max) })),
    scheduled: view.scheduled().map(({ parameter, value, epoch }) => ({ name: parameter, value: decimal(value), epoch })),
    proposals: view.proposals().map(({ id, parameter, value, validator, epoch, votes }) => ({ id: hex(id), name: parameter, value: decimal(value), validator: addressText(validator), epoch, votes: votes.map(addressText) })),
  };
}
const delegationJson = ({ validator, delegator, shares, amount, leaving }: DelegationView): Json => ({
  validator: addressText(validator), delegator: addressText(delegator), shares: decimal(shares), amount: decimal(amount),
  leaving: leaving.map((one) => ({ amount: decimal(one.amount), releaseMs: decimal(one.releaseMs), releaseEpoch: one.releaseEpoch })),
});

const idIn = (text: string | undefined): Address => address(fromHex(text ?? ""));
function accountIn(query: Call["query"]): Address {
  const text = query["account"];
  return text === undefined ? refuseWith("parameter_invalid", "Cannot list these without an `account`") : addressIn(text);
}
const addressIn = (text: Call["query"][string] | undefined): Address => parseAddress(String(text)) ?? refuseWith("parameter_invalid", `Cannot read "${String(text)}" as an address: its checksum is wrong`);
