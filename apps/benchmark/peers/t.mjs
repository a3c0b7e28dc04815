import * as tf from "@tensorflow/tfjs-core";
import * as w from "@tensorflow/tfjs-backend-wasm";
const th = Number(process.argv[2]??1);
console.log(Object.keys(w));
if (th>1){ tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", true); w.setThreadsCount(th);} 
console.log(await tf.setBackend("wasm").catch(e=>e)); await tf.ready(); console.log(tf.getBackend(), w.getThreadsCount?.(), await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT"));
const a=tf.randomNormal([1024,1024]);
for(let i=0;i<8;i++){const t=performance.now(); const y=tf.matMul(a,a); y.dispose(); console.log((performance.now()-t).toFixed(1));}
console.log(tf.engine().registryFactory.wasm!==undefined)
