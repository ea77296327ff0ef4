// What a JSON schema says before any grammar is made of it: references resolved, combinations merged into alternatives.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace nbl::model {

/// Resolves "#" and "#/a/b" in the document. Code::unsupported for references to elsewhere, Code::not_found for dangling ones.
Result<const Json*> resolve_reference(const Json& root, std::string_view reference);

/// The schema as alternatives without $ref, allOf, anyOf and oneOf at their top: a value is valid when it is under one of them.
/// Boolean schemas come as such; a schema that nothing satisfies gives no alternatives. `place` names it in messages.
/// Code::unsupported naming a keyword that is not implemented, or a oneOf whose alternatives may both hold.
Result<std::vector<Json>> schema_alternatives(const Json& root, const Json& schema, const std::string& place);

/// Whether a value of the JSON type ("integer" is a "number" too) may be under the schema, by its type, const and enum.
bool schema_admits_type(const Json& schema, std::string_view type);
/// The JSON type of a value: "null", "boolean", "integer", "number", "string", "array", "object".
std::string_view json_type(const Json& value);
/// Whether the value is under the schema's type, enum, const and bounds; what is inside arrays and objects is not looked at.
bool schema_admits_scalar(const Json& schema, const Json& value);

}  // namespace nbl::model
