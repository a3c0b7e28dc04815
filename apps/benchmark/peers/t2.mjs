import { init, defaultDevice, numpy as np, jit, nn, lax, valueAndGrad, blockUntilReady, tree } from "@jax-js/jax";
console.log(await init("wasm")); defaultDevice("wasm");
const arr=(d,s)=>np.array(d,{shape:s, dtype:np.float32});
const rnd=(n)=>Float32Array.from({length:n},()=>Math.random()-0.5);
const time=async(name,f,n=6)=>{const ts=[];for(let i=0;i<n;i++){const t=performance.now();await f();ts.push((performance.now()-t).toFixed(1))}console.log(name,ts.join(" "))};
{ const a=arr(rnd(512*512),[512,512]), b=arr(rnd(512*512),[512,512]); const f=jit((a,b)=>np.matmul(a,b));
 await time("mm",async()=>{const y=await f(a.ref,b.ref).blockUntilReady(); y.dispose();}); }
{ const n=1<<22; const [x,y,z]=[0,1,2].map(()=>arr(rnd(n),[n])); const f=jit((x,y,z)=>nn.silu(x).mul(y).add(z));
 await time("chain",async()=>{const r=await f(x.ref,y.ref,z.ref).blockUntilReady(); r.dispose();});
 for (const k of ["exp","tanh","log"]) {const g=jit(x=>np[k](x)); await time(k,async()=>{const r=await g(x.ref).blockUntilReady(); r.dispose();});}
 const g=jit(x=>nn.sigmoid(x)); await time("sig",async()=>{const r=await g(x.ref).blockUntilReady(); r.dispose();});
}
{ const x=arr(rnd(64*16384),[64,16384]); console.log(typeof np.cumsum, typeof np.cumulativeSum); const f=jit(x=>np.cumsum(x,1)); await time("cumsum",async()=>{const r=await f(x.ref).blockUntilReady(); r.dispose();}); }
{ const x=arr(rnd(2048*512),[2048,512]); const f=jit(x=>nn.softmax(x,-1)); await time("softmax",async()=>{const r=await f(x.ref).blockUntilReady(); r.dispose();});
  const w=arr(rnd(512),[512]); const g=jit((x,w)=>{ const ms=np.mean(np.square(x.ref),-1,{keepdims:true}).add(1e-5); return x.mul(lax.rsqrt? lax.rsqrt(ms):np.reciprocal(np.sqrt(ms))).mul(w); }); await time("rms",async()=>{const r=await g(x.ref,w.ref).blockUntilReady(); const d=await r.data(); }); }
{ // mlp
 const [B,D,H]=[256,512,512];
 let params=[arr(rnd(D*H).map(v=>v*0.1),[D,H]),arr(new Float32Array(H),[H]),arr(rnd(H*D).map(v=>v*.1),[H,D]),arr(new Float32Array(D),[D])];
 let m=params.map(p=>np.zerosLike(p.ref)), v=params.map(p=>np.zerosLike(p.ref)); let t=np.array(0);
 const x=arr(rnd(B*D),[B,D]), y=arr(rnd(B*D),[B,D]);
 const loss=([w1,b1,w2,b2],x,y)=>{ const h=nn.relu(np.matmul(x,w1).add(b1)); const o=np.matmul(h,w2).add(b2); return np.mean(np.square(o.sub(y))); };
 const step=jit((params,m,v,t,x,y)=>{
  t=t.add(1);
  const [l,g]=valueAndGrad(loss)(tree.ref(params),x,y);
  const c1=np.exp(t.ref.mul(Math.log(0.9))).neg().add(1), c2=np.exp(t.ref.mul(Math.log(0.999))).neg().add(1);
  const nm=g.map((g,i)=>m[i].mul(.9).add(g.ref.mul(.1)));
  const nv=g.map((g,i)=>v[i].mul(.999).add(np.square(g).mul(.001)));
  const np_=params.map((p,i)=>p.sub(nm[i].ref.div(c1.ref).div(np.sqrt(nv[i].ref.div(c2.ref)).add(1e-8)).mul(1e-3)));
  c1.dispose();c2.dispose();
  return {l,params:np_,m:nm,v:nv,t};
 });
 await time("mlp",async()=>{ const r=step(params,m,v,t,x.ref,y.ref); await blockUntilReady(r); ({params,m,v,t}=r); r.l.dispose(); },10);
}
