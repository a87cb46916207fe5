-- Users of a week are no sum of those of its dates, so a new line reopens its whole week. That
-- reads up to seven dates of events, and spares a second wide table of nearly every play.
{{
    config(
        materialized='incremental',
        incremental_strategy='replace_changed',
        partition_by=['week_start_date'],
        on_schema_change='fail',
    )
}}

with

events as (

    -- what one does with a song while it plays cuts it no shorter
    select
        trunc(event_date, 'week') as week_start_date,
        user_id,
        session_id,
        event_at,
        item_in_session,
        content_hash,
        page,
        page_category,
        artist,
        song,
        song_milliseconds
    from {{ ref('stg_events') }}
    where
        user_id is not null
        and page_category not in ('thumbs_up', 'thumbs_down', 'playlist_add', 'friend_add')
        and {{ in_changed_weeks('event_date') }}

),

followed_events as (

    select
        *,
        lead(session_id) over user_events <=> session_id as is_followed,
        unix_millis(lead(event_at) over user_events) - unix_millis(event_at)
            as milliseconds_to_next
    from events
    window user_events as (
        partition by week_start_date, user_id
        order by
            event_at, session_id, item_in_session, page, artist, song, song_milliseconds,
            content_hash
    )

),

plays as (

    -- many logs have whole seconds: within the last one, nobody can tell
    select
        week_start_date,
        user_id,
        artist,
        is_followed,
        is_followed and milliseconds_to_next < song_milliseconds - 1000 as is_cut_short,
        stack(2, 'song', song, 'artist', cast(null as string)) as (kind, song)
    from followed_events
    where page_category = 'song' and artist is not null and song is not null

),

user_plays as (

    select
        week_start_date,
        kind,
        artist,
        song,
        user_id,
        count(*) as plays,
        count_if(is_followed) as followed_plays,
        count_if(is_cut_short) as cut_short_plays
    from plays
    group by week_start_date, kind, artist, song, user_id

),

totals as (

    select
        week_start_date,
        kind,
        artist,
        song,
        sum(plays) as plays,
        count(*) as users,
        sum(followed_plays) as followed_plays,
        sum(cut_short_plays) as cut_short_plays
    from user_plays
    group by week_start_date, kind, artist, song

),

ranked as (

    select
        week_start_date,
        kind,
        row_number() over (
            partition by week_start_date, kind
            order by plays desc, users desc, artist, song
        ) as chart_rank,
        artist,
        song,
        plays,
        users,
        followed_plays,
        cut_short_plays,
        try_divide(cut_short_plays, followed_plays) as cut_short_share
    from totals

),

charts as (

    select * from ranked
    where chart_rank <= 100

)

select * from charts
