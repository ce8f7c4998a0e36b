/**
 * Pinned bytes of the ledger: a signed transaction, and the state roots of a fixed history. When one of these changes, every chain
 * forks: change them by hand, say so in the commit and in CHANGELOG.md.
 */
import assert from "node:assert";
import { test } from "node:test";
import { encode } from "#chain/codec/cbor.ts";
import { chainIdOf, encodeGenesis } from "#chain/codec/genesis.ts";
import { delegationIdOf, lockIdOf, nameIdOf, proposalIdOf } from "#chain/codec/holderOperations.ts";
import { encodeProof } from "#chain/codec/proof.ts";
import { type Operation, deploymentIdOf, signTransaction, txidOf, encodeBody, type TransactionBody } from "#chain/codec/transaction.ts";
import { sha256 } from "#chain/crypto.ts";
import { accountKey, leafOf, valueOf } from "#chain/ledger/model.ts";
import { encodeChunks, imageOf } from "#chain/ledger/snapshot.ts";
import { address, signature } from "#chain/types.ts";
import { TOKEN, World, actor, bootId, comesUp, component, deployment } from "#tests/ledger/world.ts";

test("a genesis, a signed transaction and the ids made from them have the bytes they always had", () => {
  const world = new World();
  const chain = chainIdOf(encodeGenesis(world.genesis));
  const body: TransactionBody = {
    chainId: chain, sender: actor(1).id, nonce: 2n ** 53n + 1n, validUntilMs: 1_700_000_060_000n, fee: 2n ** 64n - 1n,
    ops: [{ kind: "transfer", to: address(new Uint8Array(20).fill(1)), amount: 2n ** 53n - 1n }, { kind: "close", deploymentId: address(new Uint8Array(20).fill(2)) }],
  };
  assert.strictEqual(chain.toHex(), "c0022382c8c95fcc");
  const era = encodeGenesis({ ...world.genesis, era: { number: 1, before: chain, height: 9, id: component } });
  assert.strictEqual(era.slice(-46).toHex(), "840148c0022382c8c95fcc0958200707070707070707070707070707070707070707070707070707070707070707");
  assert.strictEqual(chainIdOf(era).toHex(), "58c13c96c477528e");
  assert.strictEqual(signTransaction(body, [actor(1).seed]).toHex(), "825873870148c0022382c8c95fcc5499b2f71f07dfbc504131573f72b1f4e160ec59f51b00200000000000011b0000018bcfe652601bffffffffffffffff8283015401010101010101010101010101010101010101011b001fffffffffffff820b5402020202020202020202020202020202020202028182582002f57463543ff0dd69fffa40afa31ad2270a1d32c0085f267bb2a6d384d622b45840870010de6360295093d773d9cfc3c10d22f7fd253f2023fa4e3980ed4ee4d69e1a2c41b646195c576ba49f038f7ebdd60314bc607ab07937a3a5fdd0f6d5c901");
  assert.strictEqual(txidOf(encodeBody(body)).toHex(), "f6f749641f1f1f134bd700e05450dae7852031bb883c80a9add85e03f895fc73");
  assert.strictEqual(deploymentIdOf(actor(1).id, 2n ** 32n, 3).toHex(), "02cc5476d23cfcf68071363cae5a4a4736cb4073");
});

const opsAt = (operations: readonly Operation[]): string => encodeBody({ chainId: chainIdOf(encodeGenesis(new World().genesis)), sender: actor(1).id, nonce: 0n, validUntilMs: 0n, fee: 0n, ops: operations }).slice(34).toHex();

test("the operations of stake and keys have the bytes they always had", () => {
  const key = actor(1).key;
  const proof = signature(new Uint8Array(64).fill(9));
  const validator = actor(1).id;
  assert.strictEqual(sha256(Uint8Array.fromHex(opsAt([{ kind: "bond", consensusKey: key, proof, amount: 2n ** 63n }]))).toHex().slice(0, 24), "a7ae6aafc4b16192649b11ec");
  assert.strictEqual(opsAt([{ kind: "unbond", validator, amount: 1n }, { kind: "unjail", validator }]), "0082830d5499b2f71f07dfbc504131573f72b1f4e160ec59f501820e5499b2f71f07dfbc504131573f72b1f4e160ec59f5");
  assert.strictEqual(opsAt([{ kind: "report", evidence: Uint8Array.of(1, 2) }, { kind: "setThreshold", threshold: 3 }]), "0082820f420102821203");
  assert.strictEqual(opsAt([{ kind: "authorise", key, scopes: 5, limit: 7n, expiryMs: 2n ** 64n - 1n }, { kind: "revoke", key }]), "00828510582002f57463543ff0dd69fffa40afa31ad2270a1d32c0085f267bb2a6d384d622b405071bffffffffffffffff8211582002f57463543ff0dd69fffa40afa31ad2270a1d32c0085f267bb2a6d384d622b4");
});

test("the operations of revisions, moves and placement have the bytes they always had", () => {
  const deploymentId = address(new Uint8Array(20).fill(2));
  assert.strictEqual(
    opsAt([{ kind: "update", deploymentId, componentDigest: component, configurationDigest: null, weight: 100, healthySeconds: 30, deadlineSeconds: 300, failuresMax: 2 }]),
    "008188183254020202020202020202020202020202020202020258200707070707070707070707070707070707070707070707070707070707070707401864181e19012c02",
  );
  assert.strictEqual(opsAt([{ kind: "promote", deploymentId }, { kind: "rollBack", deploymentId }]), "0082821833540202020202020202020202020202020202020202821834540202020202020202020202020202020202020202");
  assert.strictEqual(opsAt([{ kind: "drain", machine: deploymentId, draining: 1 }, { kind: "retire", machine: deploymentId }, { kind: "move", deploymentId, index: 3 }]), "00838318365402020202020202020202020202020202020202020182183754020202020202020202020202020202020202020283183854020202020202020202020202020202020202020203");
  assert.strictEqual(opsAt([{ kind: "constrain", deploymentId, regions: ["eu"], operators: [deploymentId], labels: [] }, { kind: "label", machine: deploymentId, labels: ["ssd"] }]), "008285183954020202020202020202020202020202020202020281626575815402020202020202020202020202020202020202028083183a5402020202020202020202020202020202020202028163737364");
  assert.strictEqual(opsAt([{ kind: "left", deploymentId, index: 257 }]), "008183183b540202020202020202020202020202020202020202190101");
  assert.strictEqual(opsAt([{ kind: "health", deploymentId, index: 257, healthy: 0, cause: "status 500" }]), "0081851835540202020202020202020202020202020202020202190101006a73746174757320353030");
});

test("the operations of scaling, and the leaf of a rule, have the bytes they always had", () => {
  const deploymentId = address(new Uint8Array(20).fill(2));
  assert.strictEqual(opsAt([{ kind: "autoscale", deploymentId, min: 0, max: 8, metric: 1, target: 12, rateMax: 2n ** 64n - 1n }]), "00818718505402020202020202020202020202020202020202020008010c1bffffffffffffffff");
  assert.strictEqual(opsAt([{ kind: "load", deploymentId, index: 257, level: 2 }, { kind: "wake", deploymentId, index: 0 }, { kind: "standby", deploymentId, index: 0, idleSeconds: 10 }]), "00838418515402020202020202020202020202020202020202021901010283185254020202020202020202020202020202020202020200841853540202020202020202020202020202020202020202000a");
  const told = [{ index: 1, machine: actor(1001).id, level: 2, at: 7n }] as const;
  const leaf = valueOf({ kind: "scaling", id: deploymentId, min: 0, max: 8, metric: 1, target: 12, rateMax: 5n, told, verdict: 2, due: 12n, grownFrom: 1, reporters: [actor(2).id] });
  assert.strictEqual(leaf.toHex(), "8b5402020202020202020202020202020202020202020008010c05818401545cbbfdcbf555c6f548336d62c1bf7acf244686b3020702810c0181544aa587243146ceda869cb4dab001c94788ff6002");
});

test("the operations of holders have the bytes they always had", () => {
  const [to, hash] = [actor(1).id, sha256(Uint8Array.of(1))];
  assert.strictEqual(opsAt([{ kind: "lock", to, amount: 1n, hash, expiryMs: 2n ** 64n - 1n }, { kind: "claimLock", lock: to, preimage: hash }, { kind: "refundLock", lock: to }]), "008385181e5499b2f71f07dfbc504131573f72b1f4e160ec59f50158204bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a1bffffffffffffffff83181f5499b2f71f07dfbc504131573f72b1f4e160ec59f558204bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a8218205499b2f71f07dfbc504131573f72b1f4e160ec59f5");
  assert.strictEqual(opsAt([{ kind: "delegate", validator: to, amount: 2n ** 63n, commissionMax: 500 }, { kind: "undelegate", validator: to, shares: 1n }, { kind: "setCommission", validator: to, bps: 10_000 }]), "00838418215499b2f71f07dfbc504131573f72b1f4e160ec59f51b80000000000000001901f48318225499b2f71f07dfbc504131573f72b1f4e160ec59f5018318235499b2f71f07dfbc504131573f72b1f4e160ec59f5192710");
  assert.strictEqual(delegationIdOf(to, actor(2).id).toHex(), "f23f89b11fbeb9b8c4731e6284de8e12dd1bc4f0");
  assert.strictEqual(opsAt([{ kind: "registerName", name: "shop", deployment: null, years: 1 }, { kind: "renewName", name: "shop", years: 2 }, { kind: "pointName", name: "shop", deployment: to }, { kind: "transferName", name: "shop", to }, { kind: "releaseName", name: "shop" }]), "00858418246473686f7040018318256473686f70028318266473686f705499b2f71f07dfbc504131573f72b1f4e160ec59f58318276473686f705499b2f71f07dfbc504131573f72b1f4e160ec59f58218286473686f70");
  assert.strictEqual(nameIdOf("shop.example").toHex(), "37cd16dbd983a6cfb3843d8760472a44d4ec99c4");
  assert.strictEqual(opsAt([{ kind: "propose", validator: to, parameter: 1, value: 20_000n }, { kind: "vote", validator: to, proposal: to }]), "00828418295499b2f71f07dfbc504131573f72b1f4e160ec59f501194e2083182a5499b2f71f07dfbc504131573f72b1f4e160ec59f55499b2f71f07dfbc504131573f72b1f4e160ec59f5");
  assert.strictEqual(proposalIdOf(to, 1n, 0).toHex(), "e999ca87cf95072d35c6ea17be32017bc12a1b83");
  assert.strictEqual(lockIdOf(to, 2n ** 32n, 3).toHex(), "28f0ef668a0d40e0e1916e1b2453a88bc7092e46");
});

test("the operations of tasks, and a task's leaf, have the bytes they always had", () => {
  const deploymentId = address(new Uint8Array(20).fill(2));
  const task: Operation = { kind: "runTask", name: "job", componentDigest: component, configurationDigest: null, memoryMib: 64, cpuMillis: 100, deposit: TOKEN, rateMax: 0n, isolation: 0, secondsMax: 60, attemptsMax: 3, backOffSeconds: 5 };
  assert.strictEqual(opsAt([task]), "00818c1846636a6f625820070707070707070707070707070707070707070707070707070707070707070740184018641a3b9aca000000183c0305");
  assert.strictEqual(opsAt([{ kind: "taskEnded", deploymentId, run: 1, exitCode: 134, reason: "trap" }]), "00818518475402020202020202020202020202020202020202020118866474726170");
  assert.strictEqual(encode(leafOf({ kind: "task", id: deploymentId, secondsMax: 60, attemptsMax: 3, backOffSeconds: 5, phase: "resting", at: 2n ** 53n + 1n, runs: 2, failures: 1, losses: 1, exitCode: 7, reason: "exit" })).toHex(), "8b540202020202020202020202020202020202020202183c0305021b0020000000000001020101076465786974");
});

test("a chunk of a state, and a proof, have the bytes they always had", () => {
  const { ledger } = new World();
  const [chunk] = [...encodeChunks(imageOf(ledger))].filter((one) => one !== null);
  assert.strictEqual(sha256(chunk!).toHex().slice(0, 24), "0a44b1e170663995435c7637");
  assert.strictEqual(sha256(encodeProof(ledger.state.prove(accountKey(actor(1).id)))).toHex().slice(0, 24), "3d439b17dcb1d1a64c1231e3");
  assert.strictEqual(sha256(encodeProof(ledger.state.prove(accountKey(actor(99).id)))).toHex().slice(0, 24), "b2474b5bfd99dbd02ab3ca21");
});

test("a fixed history has the state roots it always had", () => {
  const world = new World({ signed: true });
  const roots = [world.view.stateRoot.toHex()];
  const machine = world.machine(1, actor(2));
  roots.push(world.block().stateRoot.toHex());
  world.send(actor(1), [deployment("hello", { replicas: 2 }), { kind: "transfer", to: actor(9).id, amount: 1n }]);
  roots.push(world.block(3).stateRoot.toHex());
  world.ready(machine);
  roots.push(world.block(0).stateRoot.toHex());
  const id = deploymentIdOf(actor(1).id, 0n, 0);
  world.send(actor(1), [{ kind: "resize", deploymentId: id, memoryMib: 128, cpuMillis: 10 }, { kind: "scale", deploymentId: id, replicas: 1 }, { kind: "topUp", deploymentId: id, amount: TOKEN }]);
  roots.push(world.block(7).stateRoot.toHex());
  world.send(machine, [comesUp(world.ledger, machine, bootId(1, 2))]);
  world.send(actor(1), [{ kind: "close", deploymentId: id }]);
  roots.push(world.block(1).stateRoot.toHex());
  roots.push(world.block(9).stateRoot.toHex());
  assert.deepStrictEqual(roots.map((root) => root.slice(0, 24)), [
    "4f059279892f8ec8ac89cef1", "829b496f35e754463e777ac0", "a67f5b7d7b55e299109205a3", "32402dcfc92a7bcd4786d3cb", "b3418ff90b8b467c3b65d34d", "7e9a8e951807306002222bca", "a3095367893bb37526e619f5",
  ]);
});
