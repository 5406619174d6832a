//! The OpenAPI document of everything that is served, and a page to read it.

use axum::Router;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr,
    ResponseBuilder, SecurityRequirement, Tag, Type,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_swagger_ui::SwaggerUi;

use super::{coordinator, fog};
use crate::http::family::Family;
use crate::http::problem::Kind;

/// The document before any route is in it.
#[must_use]
pub fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("fogcore server")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(include_str!("document.md")));
    let tag = |name: &str, told: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(told.to_owned());
        tag
    };
    let mut document = OpenApiBuilder::new()
        .info(info)
        .tags(Some([
            tag("auth", "Users, tokens and API keys"),
            tag(
                "fog",
                "The fog: nodes, resources, marketplace and tokens, as the document has them",
            ),
            tag("nodes", "Nodes that register, beat and work"),
            tag("tasks", "Tasks that are submitted, looked at and called off"),
            tag("work", "What a worker does: leasing, renewing, reporting"),
            tag("marketplace", "Offers, bids and trades"),
            tag("tokens", "Transfers, stakes and rewards"),
            tag("hosts", "Hosts of games, as the coordinator's document has them"),
            tag("zones", "Parts of a game's world"),
            tag("sessions", "Players of a zone on a host"),
            tag("signaling", "How the peers of a session meet"),
            tag("monitoring", "How much there is of what"),
            tag("dialect", "The same for game clients, in the words that they speak"),
            tag("events", "What happens, as it happens"),
            tag("system", "The server itself"),
        ]))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new("bearer", [""; 0]),
            SecurityRequirement::new("api_key", [""; 0]),
        ]))
        .build();
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    let key = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
    components.add_security_scheme("api_key", SecurityScheme::ApiKey(key));
    for (name, schema) in [
        (fog::error::FogError::name(), fog::error::FogError::schema()),
        (coordinator::error::Detail::name(), coordinator::error::Detail::schema()),
        ("V1Error".into(), v1_error().into()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    document
}

fn v1_error() -> utoipa::openapi::Object {
    let of = |kind| ObjectBuilder::new().schema_type(kind);
    let error = of(Type::Object)
        .property("code", of(Type::String))
        .property("message", of(Type::String))
        .property("details", of(Type::Object))
        .required("code")
        .required("message");
    of(Type::Object)
        .description(Some("The gateway's envelope and mesh's error in one"))
        .property("success", of(Type::Boolean))
        .property("error_code", of(Type::String))
        .property("message", of(Type::String))
        .property("timestamp", of(Type::String))
        .property("request_id", of(Type::String))
        .property("error", error)
        .required("success")
        .required("error_code")
        .required("message")
        .required("error")
        .build()
}

/// `/openapi.json`, and `/docs`, whose scripts and styles are in the program: it works offline.
pub fn router<S: Clone + Send + Sync + 'static>(mut document: OpenApi) -> Router<S> {
    for (path, item) in &mut document.paths.paths {
        let family = Family::of(path);
        let operations =
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        operations.into_iter().flatten().for_each(|operation| add_refusals(operation, family));
    }
    SwaggerUi::new("/docs").url("/openapi.json", document).into()
}

/// Every operation may be refused in the same ways, in the words of its family.
fn add_refusals(operation: &mut Operation, family: &Family) {
    for kind in Kind::ALL {
        let status = (family.status)(kind).as_str().to_owned();
        let content =
            ContentBuilder::new().schema(Some(Ref::from_schema_name(family.schema))).build();
        let mut response =
            ResponseBuilder::new().description(kind.title()).content("application/json", content);
        if kind == Kind::TooMany {
            let seconds =
                HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::Integer)));
            response = response.header("Retry-After", seconds.build());
        }
        let responses = &mut operation.responses.responses;
        responses.entry(status).or_insert_with(|| RefOr::T(response.build()));
    }
}
