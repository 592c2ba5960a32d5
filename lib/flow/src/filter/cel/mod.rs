//! `--cel-expression`: an expression of the Common Expression Language over a flow.
//!
//! As in Hubble the flow is `_flow`, its fields have their names in the protobuf definition, what is not set is zero, and
//! constants of enums are `Verdict.DROPPED` or `flow.Verdict.DROPPED`. An expression that is in error on a flow, such as
//! one that asks for the first label of an endpoint without labels, does not hold.
//!
//! Before it is evaluated, `_flow.a.b` becomes one variable, so that a flow is never copied into a tree of values, and
//! a field that there is not is found at once.

mod extra;
mod fields;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::cel::common::ast::{Expr, IdedEntryExpr, IdedExpr, LiteralValue, SourceInfo};
use ::cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use ::cel::common::value::{CowVal, Val};
use ::cel::context::VariableResolver;
use ::cel::parser::Parser;
use ::cel::{Context, ExecutionError, Value};

use crate::model::Flow;
use fields::{Field, constant, enum_of, field, message};

/// The longest expression, in bytes, as in Hubble.
const MAX_BYTES: usize = 4096;
/// Brackets and question marks of one: what makes the parser call itself.
const MAX_BRACKETS: usize = 128;
/// Stack for the parser, which takes up to 100 KiB a bracket where it is not optimised.
const PARSER_STACK: usize = 64 << 20;
/// How deep parts may lie within parts: evaluation calls itself for each.
const MAX_DEPTH: usize = 32;
/// How deep macros that go through a list may lie within one another: what an expression costs is at most the product
/// of their lengths.
const MAX_LOOPS: usize = 2;
/// Elements of a flow's lists that one evaluation may go through.
const MAX_ELEMENTS: usize = 100_000;

/// The variable.
const FLOW: &str = "_flow";
/// What stands before the name of a field whose presence is asked for.
const PRESENCE: char = '?';

/// An expression that can be evaluated.
pub(super) struct Expression {
    text: String,
    expression: IdedExpr,
    context: Context<'static, 'static>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl Expression {
    /// Parses an expression, and sees to it that its fields and types are right as far as an empty flow shows.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("it is longer than {MAX_BYTES} bytes"));
        }
        if text.bytes().filter(|byte| b"([{?".contains(byte)).count() > MAX_BRACKETS {
            return Err(format!("it has more than {MAX_BRACKETS} brackets and question marks"));
        }
        let expression = std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().stack_size(PARSER_STACK);
            let parser = parser.spawn_scoped(scope, || parse(text));
            let parser = parser.map_err(|error| format!("no thread to parse it: {error}"))?;
            parser.join().map_err(|_| "it cannot be parsed".to_owned())?
        })?;
        let expression = Self { text: text.to_owned(), expression, context: Context::default() };
        match expression.evaluate(&Flow::default()) {
            Ok(Value::Bool(_)) => Ok(expression),
            Ok(other) => Err(format!("it is no condition: its type is {}, not bool", other.type_of())),
            // These are of the expression, whatever the flow.
            Err(
                error @ (ExecutionError::NoSuchOverload(_)
                | ExecutionError::UndeclaredReference(_)
                | ExecutionError::InvalidArgumentCount { .. }
                | ExecutionError::NotSupportedAsMethod { .. }
                | ExecutionError::UnsupportedTargetType { .. }
                | ExecutionError::UnsupportedBinaryOperator(..)
                | ExecutionError::ValuesNotComparable(..)
                | ExecutionError::UnexpectedType { .. }
                | ExecutionError::MissingArgumentOrTarget),
            ) => Err(error.to_string()),
            Err(_) => Ok(expression),
        }
    }

    /// Whether it holds for a flow.
    pub(super) fn holds(&self, flow: &Flow) -> bool {
        matches!(self.evaluate(flow), Ok(Value::Bool(true)))
    }

    fn evaluate(&self, flow: &Flow) -> Result<Value, ExecutionError> {
        let fields = Fields { flow, elements: AtomicUsize::new(0) };
        let mut context = self.context.new_inner_scope();
        context.set_variable_resolver(&fields);
        Value::resolve(&self.expression, &context)
    }
}

/// Parses an expression and makes variables of its fields; what lies too deep does not leave here.
fn parse(text: &str) -> Result<IdedExpr, String> {
    let (mut expression, source) = Parser::default().parse_with_source_info(text).map_err(|errors| {
        let first = errors.errors.first().map(|error| {
            let place = if error.pos.0 > 1 { format!("line {}, ", error.pos.0) } else { String::new() };
            format!("at {place}column {}: {}", error.pos.1, error.msg)
        });
        first.unwrap_or_else(|| "it cannot be parsed".to_owned())
    })?;
    let mut rewriting = Rewriting { source: &source, variables: Vec::new(), loops: 0, depth: 0 };
    rewriting.node(&mut expression)?;
    Ok(expression)
}

/// Gives the fields of a flow their values.
struct Fields<'a> {
    flow: &'a Flow,
    /// Elements of lists that were given so far.
    elements: AtomicUsize,
}

impl VariableResolver for Fields<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(path) = variable.strip_prefix(PRESENCE) {
            let set = message(self.flow, path)
                .or_else(|| field(self.flow, path).map(|field| !field.is_zero()))
                .map(CelBool::from)?;
            return Some(CowVal::owned(set));
        }
        let path = variable.strip_prefix(FLOW)?.strip_prefix('.')?;
        let field = field(self.flow, path)?;
        let elements = match &field {
            Field::Texts(texts) => texts.len(),
            Field::Messages(messages) => messages.len(),
            _ => 0,
        };
        if self.elements.fetch_add(elements, Ordering::Relaxed).saturating_add(elements) > MAX_ELEMENTS {
            // Then there is no such variable: an error, which does not hold.
            return None;
        }
        Some(CowVal::Owned(value(field)))
    }
}

fn value<'v>(field: Field<'v>) -> Box<dyn Val + 'v> {
    match field {
        Field::Text(text) => Box::new(CelString::from(text)),
        Field::Int(number) => Box::new(CelInt::from(number)),
        Field::Uint(number) => Box::new(CelUInt::from(number)),
        Field::Bool(value) => Box::new(CelBool::from(value)),
        Field::Null => Box::new(CelNull),
        Field::Texts(texts) => {
            let texts = texts.iter().map(|text| Box::new(CelString::from(text.as_str())) as Box<dyn Val + 'v>);
            Box::new(CelList::from(texts.collect::<Vec<_>>()))
        }
        Field::Messages(messages) => {
            let message = |fields: Vec<(&'static str, Field<'v>)>| {
                let fields = fields.into_iter().map(|(name, field)| (CelMapKey::from(name), value(field)));
                Box::new(CelMap::from(fields.collect::<HashMap<_, _>>())) as Box<dyn Val + 'v>
            };
            Box::new(CelList::from(messages.into_iter().map(message).collect::<Vec<_>>()))
        }
    }
}

/// Names of types, which stand where variables do.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

/// Makes variables of fields and numbers of constants.
struct Rewriting<'a> {
    source: &'a SourceInfo,
    /// Those of the macros that one is within.
    variables: Vec<String>,
    loops: usize,
    depth: usize,
}

impl Rewriting<'_> {
    /// An error with its place.
    fn error(&self, id: u64, message: impl fmt::Display) -> String {
        match self.source.offset_for(id) {
            Some((start, _)) => format!("at column {}: {message}", start + 1),
            None => message.to_string(),
        }
    }

    fn node(&mut self, node: &mut IdedExpr) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("its parts lie more than {MAX_DEPTH} deep within one another"));
        }
        let id = node.id;
        let rewritten = match &mut node.expr {
            Expr::Select(_) => self.select(node),
            Expr::Ident(name) if name == FLOW && !self.variables.iter().any(|known| known == FLOW) => {
                Err(self.error(id, format_args!("{FLOW} is a message: name one of its fields, such as {FLOW}.verdict")))
            }
            Expr::Ident(name) if !self.variables.contains(name) && !TYPES.contains(&name.as_str()) => {
                Err(self.error(id, format_args!("there is no variable {name:?}: the flow is {FLOW}")))
            }
            Expr::Call(call) => {
                for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                    self.node(part)?;
                }
                self.compared(id, &call.func_name, &call.args)
            }
            Expr::Comprehension(through) => {
                self.node(&mut through.iter_range)?;
                self.node(&mut through.accu_init)?;
                let outside = self.variables.len();
                self.variables.extend([through.iter_var.clone(), through.accu_var.clone()]);
                self.variables.extend(through.iter_var2.clone());
                self.loops += 1;
                if self.loops > MAX_LOOPS {
                    return Err(self.error(id, format_args!("more than {MAX_LOOPS} macros within one another")));
                }
                for part in [&mut through.loop_cond, &mut through.loop_step, &mut through.result] {
                    self.node(part)?;
                }
                self.loops -= 1;
                self.variables.truncate(outside);
                Ok(())
            }
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.node(element)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| self.entry(entry)),
            Expr::Struct(made) => Err(self.error(id, format_args!("{} cannot be made here", made.type_name))),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Ok(()),
        };
        self.depth -= 1;
        rewritten
    }

    fn entry(&mut self, entry: &mut IdedEntryExpr) -> Result<(), String> {
        match &mut entry.expr {
            ::cel::common::ast::EntryExpr::MapEntry(entry) => {
                self.node(&mut entry.key)?;
                self.node(&mut entry.value)
            }
            ::cel::common::ast::EntryExpr::StructField(entry) => self.node(&mut entry.value),
        }
    }

    fn select(&mut self, node: &mut IdedExpr) -> Result<(), String> {
        let id = node.id;
        let Expr::Select(select) = &mut node.expr else { return Ok(()) };
        let Some((root, mut names)) = chain(&select.operand) else { return self.node(&mut select.operand) };
        names.push(&select.field);
        if root == FLOW && !self.variables.iter().any(|known| known == FLOW) {
            let path = names.join(".");
            let empty = Flow::default();
            let (known, is_message) = (field(&empty, &path).is_some(), message(&empty, &path).is_some());
            let variable = match (known, is_message, select.test) {
                (true, _, false) => format!("{FLOW}.{path}"),
                (true, ..) | (_, true, true) => format!("{PRESENCE}{path}"),
                (_, true, false) => {
                    let why =
                        format_args!("{FLOW}.{path} is a message: name one of its fields, or say has({FLOW}.{path})");
                    return Err(self.error(id, why));
                }
                _ => return Err(self.error(id, no_such_field(&names))),
            };
            node.expr = Expr::Ident(variable);
            return Ok(());
        }
        let names: Vec<&str> = std::iter::once(root).chain(names).collect();
        if let [name, value] | ["flow", name, value] = names.as_slice()
            && !self.variables.iter().any(|known| known == root)
            && let Some(number) = constant(name, value)
        {
            let number =
                number.ok_or_else(|| self.error(id, format_args!("there is no {value} in the enum {name}")))?;
            node.expr = Expr::Literal(LiteralValue::Int(CelInt::from(number)));
            return Ok(());
        }
        self.node(&mut select.operand)
    }

    /// Refuses what can never be equal: a field, and a constant of another type.
    fn compared(&self, id: u64, operator: &str, sides: &[IdedExpr]) -> Result<(), String> {
        let ("_==_" | "_!=_", [one, other]) = (operator, sides) else { return Ok(()) };
        for (side, literal) in [(one, other), (other, one)] {
            let (Expr::Ident(variable), Expr::Literal(literal)) = (&side.expr, &literal.expr) else { continue };
            let path = variable.strip_prefix(FLOW).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
            let empty = Flow::default();
            let Some(field) = field(&empty, path) else { continue };
            let right = matches!(
                (&field, literal),
                (Field::Text(_), LiteralValue::String(_))
                    | (
                        Field::Int(_) | Field::Uint(_),
                        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)
                    )
                    | (Field::Bool(_), LiteralValue::Boolean(_))
                    | (Field::Null, LiteralValue::Boolean(_) | LiteralValue::Null)
            );
            if !right {
                let hint = match enum_of(path) {
                    Some(name) => format!(": it is an enum, compare it with a constant such as {name}.NAME"),
                    None => String::new(),
                };
                return Err(self.error(id, format_args!("{variable} never has a value of that type{hint}")));
            }
        }
        Ok(())
    }
}

/// The variable that fields are selected of, and their names.
fn chain(expression: &IdedExpr) -> Option<(&str, Vec<&str>)> {
    let (mut names, mut at) = (Vec::new(), expression);
    loop {
        match &at.expr {
            Expr::Ident(root) => {
                names.reverse();
                return Some((root, names));
            }
            Expr::Select(select) if !select.test => {
                names.push(&select.field);
                at = &select.operand;
            }
            _ => return None,
        }
    }
}

/// Which of the names is of no field.
fn no_such_field(names: &[&str]) -> String {
    let empty = Flow::default();
    let is_known = |count: &usize| {
        let path = names.get(..*count).unwrap_or_default().join(".");
        field(&empty, &path).is_some() || message(&empty, &path).is_some()
    };
    let known = (1..=names.len()).take_while(is_known).count();
    let of: Vec<&str> = std::iter::once(FLOW).chain(names.iter().take(known).copied()).collect();
    let name = names.get(known).copied().unwrap_or_default();
    match name {
        "time" => format!("{FLOW}.time cannot be asked for here: use --since and --until"),
        _ => format!("there is no field {name:?} in {}", of.join(".")),
    }
}

#[cfg(test)]
mod tests;
