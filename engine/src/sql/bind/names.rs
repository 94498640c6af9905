//! The names of unnamed output columns (parse_target.c, FigureColname).

use datafusion::sql::sqlparser::ast::{self, DataType, Expr};

use super::{fold, name_parts, type_of_name};

/// The name PostgreSQL gives an expression, or None for `?column?`.
pub(crate) fn column_name(e: &Expr) -> Option<String> {
    figure(e).map(|(name, _)| name)
}

/// Name and strength: 2 for a name that a cast around it keeps, 1 for one that it replaces.
fn figure(e: &Expr) -> Option<(String, u8)> {
    let strong = |name: &str| Some((name.to_owned(), 2));
    match e {
        Expr::Identifier(ident) => Some((fold(ident), 2)),
        Expr::CompoundIdentifier(parts) => parts.last().map(|i| (fold(i), 2)),
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last() {
            Some(ast::AccessExpr::Dot(field)) => figure(field),
            _ => figure(root),
        },
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => strong("overlaps"),
        Expr::Nested(inner) => figure(inner),
        Expr::Collate { expr, .. } => figure(expr),
        Expr::Function(f) => name_parts(&f.name).ok()?.pop().map(|n| (n, 2)),
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, 2)) => Some((name, 2)),
            _ => type_column(data_type),
        },
        Expr::TypedString(t) => type_column(&t.data_type),
        Expr::Interval(_) => Some(("interval".to_owned(), 1)),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".to_owned(), 1)),
        },
        Expr::Array(_) => strong("array"),
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(query) => subquery_name(&query.body),
        Expr::Extract { .. } => strong("extract"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand: true, .. } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Tuple(_) => strong("row"),
        _ => None,
    }
}

fn type_column(data_type: &DataType) -> Option<(String, u8)> {
    let (ty, _) = type_of_name(data_type).ok()?;
    Some((ty.element().unwrap_or(ty).info().name.to_owned(), 1))
}

fn subquery_name(body: &ast::SetExpr) -> Option<(String, u8)> {
    match body {
        ast::SetExpr::Select(select) => match select.projection.first()? {
            // Its column has a name by then, were it "?column?".
            ast::SelectItem::UnnamedExpr(e) => {
                Some((figure(e).map_or_else(|| "?column?".to_owned(), |(name, _)| name), 2))
            }
            ast::SelectItem::ExprWithAlias { alias, .. } => Some((fold(alias), 2)),
            _ => None,
        },
        ast::SetExpr::Query(query) => subquery_name(&query.body),
        ast::SetExpr::SetOperation { left, .. } => subquery_name(left),
        ast::SetExpr::Values(_) => Some(("column1".to_owned(), 2)),
        _ => None,
    }
}
