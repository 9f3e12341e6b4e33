package org.wavehouse.flink;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * Client of a schema registry with the Confluent API. Schemas are kept; that an id has none only for a moment, because the
 * next registration may give it out. Not thread-safe.
 *
 * <p>Every call throws {@link UncheckedIOException} when the registry cannot be reached or gives an unexpected answer; the
 * caller may try again.
 */
final class SchemaRegistry {
    /** Error code of the Confluent API for an id that was never given out. */
    private static final int SCHEMA_NOT_FOUND = 40403;
    private static final int OK = 200;
    private static final int NOT_FOUND = 404;
    /** A flood of made-up ids must not fill the memory. */
    private static final int MAX_KEPT = 10_000;
    private static final Duration KEPT_WITHOUT_SCHEMA = Duration.ofSeconds(5);
    private static final String CONTENT_TYPE = "application/vnd.schemaregistry.v1+json";

    private final String url;
    private final HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
    private final ObjectMapper json = new ObjectMapper();
    private final Map<Integer, String> kept = new HashMap<>();
    private final Map<Integer, Long> missingSince = new HashMap<>();

    SchemaRegistry(String url) {
        this.url = url;
    }

    /** The text of schema {@code id}, or empty when the registry says that there is none. */
    Optional<String> schema(int id) {
        String known = kept.get(id);
        if (known != null) {
            return Optional.of(known);
        }
        Long missing = missingSince.get(id);
        if (id < 0 || missing != null && System.nanoTime() - missing < KEPT_WITHOUT_SCHEMA.toNanos()) { // ids are positive
            return Optional.empty();
        }
        Optional<String> found = fetch(id);
        if (kept.size() + missingSince.size() >= MAX_KEPT) {
            kept.clear();
            missingSince.clear();
        }
        if (found.isPresent()) {
            kept.put(id, found.get());
            missingSince.remove(id);
        } else {
            missingSince.put(id, System.nanoTime());
        }
        return found;
    }

    /** The id of {@code schema} under {@code subject}; registering it again changes nothing. */
    int register(String subject, String schema) {
        String body = json.createObjectNode().put("schema", schema).toString();
        HttpRequest.Builder request = request("/subjects/" + subject + "/versions")
                .header("Content-Type", CONTENT_TYPE)
                .POST(BodyPublishers.ofString(body));
        Answer answer = send(request);
        if (answer.status != OK || !answer.body.path("id").isInt()) {
            throw answer.unexpected("register a schema of " + subject);
        }
        return answer.body.get("id").asInt();
    }

    private Optional<String> fetch(int id) {
        Answer answer = send(request("/schemas/ids/" + id));
        if (answer.status == OK && answer.body.hasNonNull("schema")) {
            return Optional.of(answer.body.get("schema").asText());
        }
        // A bare 404 may be a wrong address or a starting server; only the registry's own word makes a schema unknown.
        if (answer.status == NOT_FOUND && answer.body.path("error_code").asInt() == SCHEMA_NOT_FOUND) {
            return Optional.empty();
        }
        throw answer.unexpected("give schema " + id);
    }

    private HttpRequest.Builder request(String path) {
        return HttpRequest.newBuilder(URI.create(url + path)).timeout(Duration.ofSeconds(10));
    }

    private Answer send(HttpRequest.Builder request) {
        try {
            HttpResponse<String> response = client.send(request.build(), BodyHandlers.ofString());
            String text = response.body();
            return new Answer(response.statusCode(), text.startsWith("{") ? json.readTree(text) : json.nullNode(), text);
        } catch (IOException e) {
            throw new UncheckedIOException("The schema registry at " + url + " does not answer", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("Interrupted while asking the schema registry", e);
        }
    }

    private record Answer(int status, JsonNode body, String text) {
        UncheckedIOException unexpected(String what) {
            String message = "The schema registry did not " + what + ", it answered " + status + ": " + text;
            return new UncheckedIOException(new IOException(message));
        }
    }
}
