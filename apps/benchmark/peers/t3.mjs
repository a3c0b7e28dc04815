import ort from "onnxruntime-node"; console.log(Object.keys(ort), ort.env.versions);
