/** What the public functions of all packages take by name, read from their types. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** A property that a function takes by name, and a value of a kind that it is not. */
export interface NamedProperty {
  readonly name: string;
  /** Undefined where any of the values tried here may be right. */
  readonly wrong: unknown;
}

/** A parameter of a public function that is an object with names. */
export interface ObjectParameter {
  /** Package and function, e.g. "nn.rmsNorm". */
  readonly of: string;
  /** Place among the arguments. */
  readonly place: number;
  /** Name of the parameter's type; "" without one. */
  readonly type: string;
  readonly properties: readonly NamedProperty[];
}

const root = new URL("../../../../", import.meta.url);

/** Every parameter of a public function that is an object with named properties, some of them no tensors or not needed. */
export function objectParameters(): ObjectParameter[] {
  const packages = readdirSync(new URL("packages", root)).toSorted();
  const files = packages.map((name) => fileURLToPath(new URL(`packages/${name}/src/index.ts`, root)));
  const program = ts.createProgram(files, {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
    types: [],
    strict: true,
    customConditions: ["source"],
    noEmit: true,
  });
  const checker = program.getTypeChecker();
  return packages.flatMap((name, k) => {
    const exported = checker.getSymbolAtLocation(program.getSourceFile(files[k]!)!)!;
    return checker.getExportsOfModule(exported).flatMap((symbol) => parametersOf(checker, name, symbol));
  });
}

function parametersOf(checker: ts.TypeChecker, of: string, exported: ts.Symbol): ObjectParameter[] {
  const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
  const declaration = symbol.valueDeclaration;
  if (!declaration) return [];
  const type = checker.getTypeOfSymbolAtLocation(symbol, declaration);
  // Of a name with several signatures the last is the widest.
  const signature = type.getCallSignatures().at(-1);
  return (signature?.parameters ?? []).flatMap((parameter, place) => {
    const whole = checker.getTypeOfSymbolAtLocation(parameter, parameter.valueDeclaration ?? declaration);
    const kinds = partsOf(checker.getNonNullableType(whole));
    const named = kinds.filter((kind) => isNamed(checker, kind));
    if (named.length !== kinds.length || named.length === 0) return [];
    const properties = checker.getPropertiesOfType(named[0]!).map((property) => ({
      name: property.name,
      optional: Boolean(property.flags & ts.SymbolFlags.Optional),
      parts: partsOf(checker.getNonNullableType(checker.getTypeOfSymbolAtLocation(property, declaration))),
    }));
    if (!properties.some(({ optional, parts }) => optional || parts.some(isWord))) return [];
    return {
      of: `${of}.${exported.name}`,
      place,
      type: ((named[0]!.aliasSymbol ?? named[0]!.symbol)?.name ?? "").replace("__type", ""),
      properties: properties.map(({ name, parts }) => ({ name, wrong: wrongFor(parts) })),
    };
  });
}

const partsOf = (type: ts.Type): readonly ts.Type[] => (type.isUnion() ? type.types : [type]);

/** Whether a type is an object whose properties have names: no list, no function, no instance of a class. */
function isNamed(checker: ts.TypeChecker, type: ts.Type): boolean {
  if (!(type.flags & ts.TypeFlags.Object) && !type.isIntersection()) return false;
  if (type.isClass() || checker.isArrayLikeType(type) || type.getCallSignatures().length > 0) return false;
  return !type.symbol?.declarations?.some((each) => each.getSourceFile().hasNoDefaultLib || ts.isClassLike(each));
}

const isWord = (type: ts.Type): boolean =>
  Boolean(type.flags & (ts.TypeFlags.NumberLike | ts.TypeFlags.BooleanLike | ts.TypeFlags.StringLike));

/** A value that is of none of the kinds; undefined where none is known. */
function wrongFor(parts: readonly ts.Type[]): unknown {
  const flags = parts.reduce((all, part) => all | part.flags, 0);
  if (flags & (ts.TypeFlags.TypeParameter | ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return undefined;
  if (flags & ts.TypeFlags.NumberLike) return NaN;
  if (flags & ts.TypeFlags.String) return undefined;
  return "no such choice";
}
